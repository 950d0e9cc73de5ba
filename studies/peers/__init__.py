"""Networks of the shapes that others have published, written anew with random weights, beside ours: time and memory."""
