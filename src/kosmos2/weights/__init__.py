"""Weights on disk, in the layout of the reference: find them, read them, write them.

`fetch` turns a name into a folder, `load` a folder into a network, `save` a network into a folder;
`names` is the only place that knows what the reference calls things, and `stored` the only one that
opens weight files. Import the module you need: `fetch`, `names` and `stored` come without torch.
"""
