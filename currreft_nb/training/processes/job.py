"""Names that a notebook's process and the worker processes of its training share."""


# Slow imports are inside the functions: the thread that ends this process must run from the start.

JOB = "job.pickle"
WATCHED = "CURRREFT_WATCHED"  # set on the notebook's machine: end with the notebook, and report results and errors
MESSAGE = "\x1e"  # begins a result or an error in JSON among the printed lines, which need no room on a disk
