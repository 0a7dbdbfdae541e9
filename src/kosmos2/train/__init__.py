"""Training the embedded model: from scenes and a recipe to a folder that loads.

`recipe` says what is learnt in what order, `lessons` what a scene teaches, `tokens` and `batches`
how that reaches the network, `learner` what a mistake costs, `loop` and `checkpoint` how it goes on
and on, `export` what is left at the end. Import the module you need.
"""
