"""What ppclas ships in the core, registered like any plugin's. Kept empty: ``plugin`` must import
nothing heavy.
"""
