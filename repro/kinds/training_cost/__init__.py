"""A training iteration from the published order of passes to the lean one."""
