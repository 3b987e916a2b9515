"""The typed config of a run, and how YAML, overrides and flags become one."""
