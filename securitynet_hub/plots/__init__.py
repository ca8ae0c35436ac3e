"""Figures, drawn the same in reports, studies and notebooks."""
