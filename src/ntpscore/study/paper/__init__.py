"""The paper's tables, figures and published points."""
