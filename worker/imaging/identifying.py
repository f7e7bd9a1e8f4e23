"""What may show who the patient is, by what a DICOM data set says of itself.

In: attributes. Out: whether an image is of the specimen at all, and a refusal of what is marked as showing
text. Asked before any pixel is decoded. It looks at no pixels, so what is marked wrongly passes.
"""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from worker.errors import ImageRefused

#: LOCALIZER is what an overview was called in early writers
_NOT_THE_SPECIMEN = {"LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}


def flavours(image_type: Any) -> tuple[str, ...]:
    """The values of Image Type (0008,0008), in capitals."""
    values = image_type if isinstance(image_type, MultiValue | list | tuple) else (image_type or "",)
    return tuple(str(value).strip().upper() for value in values)


def is_of_the_specimen(image_type: Any) -> bool:
    """PS3.3 C.8.12.4.1.1: not the slide's label, and not a picture that shows it."""
    return _NOT_THE_SPECIMEN.isdisjoint(flavours(image_type))


def refuse_identifying(dataset: Dataset) -> None:
    """PS3.3 C.8.12.4.1.1 (Image Type), C.8.12.4 (Specimen Label in Image), C.7.6.1 (Burned In Annotation)."""
    if not is_of_the_specimen(dataset.get("ImageType")):
        raise ImageRefused("Slide label, overview and thumbnail images are not read.")
    if _says_yes(dataset, "SpecimenLabelInImage"):
        raise ImageRefused("It shows the label of the slide.")
    if _says_yes(dataset, "BurnedInAnnotation"):
        raise ImageRefused("It is marked as showing text that may identify a patient.")


def _says_yes(dataset: Dataset, keyword: str) -> bool:
    return str(dataset.get(keyword, "")).strip().upper() == "YES"
