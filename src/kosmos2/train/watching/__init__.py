"""Seeing a training while it runs and after it: a live line, curves, held-out pictures, a report.

watcher      what is told to whoever watches
live         one line on a terminal, plain lines elsewhere
tensorboard  curves and pictures for TensorBoard, if it is installed
exercises    plain phrases of rows that are never trained on
held_out     what the model makes of them: found before, found after
record       what a run folder tells
report       `report.html`, made from a run folder alone
pictures, curves, page    what that page is made of
"""
