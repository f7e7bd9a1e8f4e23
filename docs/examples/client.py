"""Ask about a picture and print the answer: client.py URL KEY-FILE PICTURE."""

import sys
from pathlib import Path

from integrations.client import Pathlane

url, key_file, picture = sys.argv[1:]

with Pathlane(url, Path(key_file).read_text()) as pathlane:
    job = pathlane.submit(
        Path(picture),
        "Which stain is shown?",
        options=["Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue"],
        priority="stat",
    )
    job = pathlane.wait(job)

if job.reading is None:
    sys.exit(f"{job.id} {job.status}: {job.error}")
print(job.reading.answer)
