"""Knowledge distillation for ppclas: SSLD and its relatives, as plugins."""
