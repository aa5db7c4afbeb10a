"""Figures, cards of questions and answers, tables, controls: plain data in, figure or HTML out."""
