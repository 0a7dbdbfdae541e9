"""From anybody's data to the rows a network learns from; numbers only, no tensors.

`readers` turn files into `Sample`s, `order` and `mixture` say who comes when, `wording` and
`transforms` say how a sample is taught, `encoding` and `rows` make arrays of it. Import the module
you need.
"""
