"""What a client is told, by status and code: fixed texts, each with the way out.

A picture that cannot be used is always 400: official clients send 408, 409, 429 and 5xx again.
"""

TEXTS: dict[int, dict[str, str]] = {
    400: {
        "invalid_request": (
            "A value is not one that this route takes; see param, and /openapi.json for what it "
            "can be."
        ),
        "invalid_json": (
            "The body is not JSON as RFC 8259 has it; send one object, without NaN, Infinity, "
            "doubled names or deep nesting."
        ),
        "missing_parameter": "A field that is needed is missing; see param.",
        "unknown_parameter": (
            "There is no such field; see param, and /openapi.json for those that exist."
        ),
        "unsupported_value": "The field has a meaning that this model cannot follow; leave it out.",
        "prompt_invalid": (
            "The words make no prompt: they are empty, hold half a character, or do not fit "
            "their boxes."
        ),
        "phrase_invalid": "A phrase is empty, or there are none; give each some words.",
        "box_invalid": (
            "A box is four numbers, x1, y1, x2, y2, with x1 < x2 and y1 < y2, inside the picture."
        ),
        "context_length_exceeded": (
            "Words and pictures are longer than what the model reads; shorten or leave out some."
        ),
        "too_many": "There are more of these than the server takes at once; see param.",
        "image_missing": "No picture was sent; add an image_url part with a data: URL.",
        "too_many_images": "There are more pictures than the server takes at once; send fewer.",
        "image_url_not_allowed": (
            "The server does not fetch from this address; send the picture itself as a data: URL."
        ),
        "image_url_invalid": (
            "The address of the picture cannot be read; send data:image/png;base64,... or the like."
        ),
        "asset_not_supported": (
            "Pictures cannot be uploaded beforehand here; put the picture itself into src as a "
            "data: URL."
        ),
        "image_fetch_failed": (
            "The picture could not be fetched from its address; send it as a data: URL."
        ),
        "image_format_unsupported": (
            "This is no picture of a kind that is read here: JPEG, PNG, WebP, GIF, BMP, TIFF."
        ),
        "image_invalid": "The picture is damaged, cut short or empty; save it again.",
        "image_too_large": (
            "The picture has too many bytes or pixels, or is far longer than wide; shrink or "
            "crop it."
        ),
        "image_too_complex": (
            "The picture takes too long or too much memory to decode; save it anew, as a plain "
            "PNG or JPEG."
        ),
        "worker_died": "The picture could not be decoded; save it anew, as a plain PNG or JPEG.",
    },
    401: {
        "invalid_api_key": (
            "A key is needed, and none that is known came; send Authorization: Bearer KEY."
        ),
    },
    403: {
        "cross_site_refused": "Pages of other sites may not ask this server from a browser.",
    },
    404: {
        "not_found": "There is nothing at this path; see /openapi.json for what there is.",
        "model_not_found": "There is no model of this name here; see /v1/models.",
    },
    405: {
        "method_not_allowed": "This path has no such method; see /openapi.json.",
    },
    408: {
        "request_timeout": "The request took too long to arrive; send it in one go.",
    },
    413: {
        "body_too_large": (
            "The body is larger than the server takes; send fewer or smaller pictures."
        ),
    },
    415: {
        "unsupported_media_type": "Bodies are JSON; send Content-Type: application/json.",
        "unsupported_encoding": "Bodies are taken as they are; send no Content-Encoding.",
    },
    421: {
        "host_not_allowed": "The server is not known by this name; ask for 127.0.0.1 or localhost.",
    },
    431: {
        "headers_too_large": "The head of the request is larger than the server takes.",
    },
    429: {
        "overloaded": (
            "The server is at work on as much as it takes; ask again after Retry-After seconds."
        ),
        "rate_limited": (
            "This key has asked as often as it may; ask again after Retry-After seconds."
        ),
        "concurrency_limited": (
            "This key has as many requests open as it may; ask again after Retry-After seconds."
        ),
    },
    499: {
        "cancelled": "The request was given up before its answer was whole.",
    },
    500: {
        "internal": (
            "Something went wrong on our side; the server's log has it under this request's id."
        ),
        "generation_failed": "The model could not go on with this answer; others are not affected.",
    },
    503: {
        "draining": "The server is about to stop and takes nothing new; ask another, or later.",
        "loading": "The model is not ready yet; ask again in a moment.",
        "engine_dead": (
            "The model has stopped working and the server is about to end; ask again once it is "
            "back."
        ),
    },
    504: {
        "deadline_exceeded": "The answer was not whole in time; ask for less, or fewer at once.",
    },
}
