"""How a processing job of SageMaker runs the archive of the jobs: folders of the container, and what unpacks it.

Pure data, for the stacks, which put jobs into the state machine of a night, and for `tandem aws`, which starts one
when somebody asks. What a job is told is its own business (`batch_job/__main__.py`).
"""

from __future__ import annotations

from typing import Final

ML: Final = "/opt/ml"
"""Where SageMaker puts things into a container."""
CODE_FOLDER: Final = f"{ML}/processing/input/code"
DATASET_FOLDER: Final = f"{ML}/processing/input/dataset"
SCRATCH: Final = f"{ML}/processing"
"""For temporary files: on the volume that the job was given, not in the container's own layer."""
BOOTSTRAP: Final = (
    "import glob,os,sys,tarfile as f,tempfile as t;d=t.mkdtemp();"
    f"f.open(glob.glob('{CODE_FOLDER}/*')[0]).extractall(d,**{{'filter':'data'}}if'data_filter'in dir(f)else{{}});"
    "os.chdir(d);os.execv(sys.executable,[sys.executable,'job.py',*sys.argv[1:]])"
)
"""Unpacks the archive and becomes `job.py`; at most 256 characters in one line, as SageMaker asks of an entrypoint. The
filter came with Python 3.11.4."""
ENTRY_POINT: Final = ("python3", "-c", BOOTSTRAP)

RECOMMENDATIONS: Final = "recommendations/"
"""Prefix of the data bucket below which batches of recommendations lie."""
FORGOTTEN: Final = "forgotten/"
"""Prefix of the data bucket below which it is kept what each forgetting has done."""
ASKED: Final = "asked/"
"""Prefix of the data bucket below which a job that somebody asked for finds ids of users, and leaves what names one:
whoever asked removes it, and what is left expires."""
ON_DEMAND: Final = ("recommend", "forget")
"""Jobs that somebody asks for, beside those of a night."""
