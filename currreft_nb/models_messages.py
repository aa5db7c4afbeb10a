"""Keep out of the notebooks what libraries say to their own developers; importing this module is enough.

Muted: bitsandbytes' note that an optional kernel is absent, the trainer's note on how it orders its checkpoints,
transformers' announcements of what version 6 will rename (they concern calls inside TRL and PEFT), and progress bars,
of which a stored notebook keeps the first state only, with the advice to install widgets for them.
"""

import logging
import warnings

warnings.filterwarnings("ignore", message="IProgress not found")  # said when tqdm is imported, so before the others

from datasets import disable_progress_bars  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")
transformers_logging.disable_progress_bar()
disable_progress_bars()
