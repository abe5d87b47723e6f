"""Documents and how they are rendered: a leaf that knows no kind of study."""
