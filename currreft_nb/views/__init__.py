"""Figures, cards of questions and answers, tables, controls: plain data in, figure or HTML out."""

from currreft_nb.views.live import show_figures

show_figures()  # before a module of this package imports matplotlib, which reads MPLBACKEND only then
