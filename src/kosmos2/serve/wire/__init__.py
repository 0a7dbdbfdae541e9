"""What goes over the wire: the bodies of requests and replies, each as it is documented.

parts       what several routes share: errors, boxes, the `grounding` object of requests and replies
chat        `/v1/chat/completions`
responses   `/v1/responses`
native      our own routes
nvidia      NVIDIA's hosted KOSMOS-2
moondream   Moondream
"""
