"""Mute messages that users cannot act on; importing this module is enough.

Muted: bitsandbytes' note that an optional kernel is absent, the trainer's note on the order of its checkpoints,
transformers' announcements of new names in version 6 (for calls inside TRL and PEFT), and progress bars, whose first
state would stay in a stored notebook.
"""

import logging
import warnings

from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

warnings.filterwarnings("ignore", message="IProgress not found")  # issued on importing tqdm, which datasets does

logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")
transformers_logging.disable_progress_bar()
disable_progress_bars()
