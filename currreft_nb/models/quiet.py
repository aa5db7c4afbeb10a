"""Mute messages that users cannot act on; importing this module is enough.

Muted: the trainer's note on the order of its checkpoints, transformers' announcements of new names in version 6 (for
calls inside TRL and PEFT), and progress bars, whose first state would stay in a stored notebook.
"""

import logging
import warnings

# Before the imports below: tqdm issues this warning when datasets imports it.
warnings.filterwarnings("ignore", message="IProgress not found")

from datasets import disable_progress_bars  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")
transformers_logging.disable_progress_bar()
disable_progress_bars()
