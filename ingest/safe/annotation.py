"""The XML documents of a Sentinel-1 product, parsed into the typed records of `ingest.safe.metadata`.

Element names and meanings: Sentinel-1 Product Specification, S1-RS-MDA-52-7441.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ingest.errors import UnreadableInput
from ingest.safe.metadata import (
    Annotation,
    CalibrationVector,
    Floats,
    GeolocationGrid,
    Integers,
    NoiseAzimuthBlock,
    NoiseRangeVector,
    ThermalNoise,
)
from ingest.scene import parse_utc


@dataclass(frozen=True)
class Document:
    """An element of an XML document, and the document's name for messages."""

    root: Element
    subject: str

    @classmethod
    def parse(cls, content: bytes, subject: str) -> Document:
        """Parse, refusing entity declarations; `UnreadableInput` if it is not XML."""
        try:
            return cls(fromstring(content), subject)
        except DefusedXmlException as error:
            raise UnreadableInput(subject, "declares XML entities", "refused: no Sentinel-1 annotation does") from error
        except (ParseError, ValueError, LookupError) as error:
            raise UnreadableInput(subject, f"is not well-formed XML ({error})", "fetch the product again") from error

    def fail(self, problem: str) -> UnreadableInput:
        return UnreadableInput(self.subject, problem, "fetch the product again")

    def every(self, path: str) -> list[Document]:
        return [Document(element, self.subject) for element in self.root.iterfind(path)]

    def has(self, path: str) -> bool:
        return self.root.find(path) is not None

    def text(self, path: str) -> str:
        text = (self.root.findtext(path) or "").strip()
        if not text:
            raise self.fail(f"has no {_leaf(path)}")
        return text

    def integer(self, path: str) -> int:
        text = self.text(path)
        try:
            return int(text)
        except ValueError as error:
            raise self.fail(f"{_leaf(path)} {text!r} is not an integer") from error

    def flag(self, path: str) -> bool:
        """An XML boolean; false where it is absent."""
        if not self.has(path):
            return False
        text = self.text(path)
        if text not in ("true", "1", "false", "0"):
            raise self.fail(f"{_leaf(path)} {text!r} is neither true nor false")
        return text in ("true", "1")

    def real(self, path: str) -> float:
        text = self.text(path)
        try:
            value = float(text)
        except ValueError as error:
            raise self.fail(f"{_leaf(path)} {text!r} is not a number") from error
        if not np.isfinite(value):
            raise self.fail(f"{_leaf(path)} is not finite")
        return value

    def time(self, path: str) -> datetime:
        text = self.text(path)
        try:
            return parse_utc(text)
        except ValueError as error:
            raise self.fail(f"{_leaf(path)} {text!r} is not a time") from error

    def reals(self, path: str) -> Floats:
        values: Floats = self._list(path, np.float64)
        if not np.isfinite(values).all():
            raise self.fail(f"{_leaf(path)} holds values that are not finite")
        return values

    def integers(self, path: str) -> Integers:
        values: Integers = self._list(path, np.int64)
        return values

    def _list(self, path: str, dtype: type[np.generic]) -> Any:
        words = self.text(path).split()
        element = self.root.find(path)
        count = None if element is None else element.get("count")
        if count is not None and count.strip() != str(len(words)):
            raise self.fail(f"{_leaf(path)} has {len(words)} values, its count says {count}")
        try:
            return np.array(words, dtype=dtype)
        except (ValueError, OverflowError) as error:
            raise self.fail(f"{_leaf(path)} holds something that is not a number") from error


def read_annotation(document: Document) -> Annotation:
    """Read a product annotation (``annotation/*.xml``)."""
    header = "adsHeader/"
    image = "imageAnnotation/imageInformation/"
    annotation = Annotation(
        platform=document.text(header + "missionId"),
        mode=document.text(header + "mode"),
        swath=document.text(header + "swath"),
        product_type=document.text(header + "productType"),
        polarisation=document.text(header + "polarisation"),
        start=document.time(header + "startTime"),
        stop=document.time(header + "stopTime"),
        absolute_orbit=document.integer(header + "absoluteOrbitNumber"),
        datatake=document.integer(header + "missionDataTakeId"),
        image_number=document.integer(header + "imageNumber"),
        pass_direction=document.text("generalAnnotation/productInformation/pass"),
        number_of_lines=document.integer(image + "numberOfLines"),
        number_of_samples=document.integer(image + "numberOfSamples"),
        azimuth_pixel_spacing=document.real(image + "azimuthPixelSpacing"),
        range_pixel_spacing=document.real(image + "rangePixelSpacing"),
        geolocation_grid=_read_geolocation_grid(document),
        noise_removed=document.flag("imageAnnotation/processingInformation/thermalNoiseCorrectionPerformed"),
    )
    if min(annotation.number_of_lines, annotation.number_of_samples) < 1:
        raise document.fail("empty image")
    if min(annotation.azimuth_pixel_spacing, annotation.range_pixel_spacing) <= 0:
        raise document.fail("pixel spacing is not positive")
    return annotation


def read_calibration(document: Document) -> tuple[CalibrationVector, ...]:
    """Read the look-up table of ``annotation/calibration/calibration-*.xml``, in the document's order.

    Its ``absoluteCalibrationConstant`` is ignored: the table already includes it.
    """
    vectors = tuple(_read_calibration_vector(one) for one in document.every("calibrationVectorList/calibrationVector"))
    if not vectors:
        raise document.fail("has no calibrationVector")
    return vectors


def read_noise(document: Document, annotation: Annotation) -> ThermalNoise:
    """Read the thermal noise of ``annotation/calibration/noise-*.xml`` in either schema.

    `noiseVector` was used before IPF 2.90, `noiseRangeVector` and `noiseAzimuthVector` since. StripMap's
    azimuth vectors name no block: they apply to the whole image.
    """
    old = [_read_range_vector(one, "noiseLut") for one in document.every("noiseVectorList/noiseVector")]
    new = [_read_range_vector(one, "noiseRangeLut") for one in document.every("noiseRangeVectorList/noiseRangeVector")]
    if not (document.has("noiseVectorList") or document.has("noiseRangeVectorList")):
        raise document.fail("has neither noiseVectorList nor noiseRangeVectorList")
    blocks = [
        _read_azimuth_block(one, annotation) for one in document.every("noiseAzimuthVectorList/noiseAzimuthVector")
    ]
    return ThermalNoise(tuple(old + new), tuple(blocks))


def _read_calibration_vector(element: Document) -> CalibrationVector:
    vector = CalibrationVector(
        azimuth_time=element.time("azimuthTime"),
        line=element.integer("line"),
        pixel=element.integers("pixel"),
        sigma_nought=element.reals("sigmaNought"),
        beta_nought=element.reals("betaNought"),
        gamma=element.reals("gamma"),
        dn=element.reals("dn"),
    )
    for name, values in (("sigmaNought", vector.sigma_nought), ("betaNought", vector.beta_nought),
                         ("gamma", vector.gamma), ("dn", vector.dn)):  # fmt: skip
        _same_length(element, "pixel", vector.pixel, name, values)
        if (values <= 0).any():
            raise element.fail(f"{name} of line {vector.line} holds values that are not positive")
    return vector


def _read_range_vector(element: Document, values: str) -> NoiseRangeVector:
    vector = NoiseRangeVector(
        azimuth_time=element.time("azimuthTime"),
        line=element.integer("line"),
        pixel=element.integers("pixel"),
        noise=element.reals(values),
    )
    _same_length(element, "pixel", vector.pixel, values, vector.noise)
    return vector


def _read_azimuth_block(element: Document, annotation: Annotation) -> NoiseAzimuthBlock:
    def bound(name: str, whole_image: int) -> int:
        return element.integer(name) if element.has(name) else whole_image

    block = NoiseAzimuthBlock(
        swath=element.text("swath") if element.has("swath") else annotation.swath,
        first_line=bound("firstAzimuthLine", 0),
        last_line=bound("lastAzimuthLine", annotation.number_of_lines - 1),
        first_pixel=bound("firstRangeSample", 0),
        last_pixel=bound("lastRangeSample", annotation.number_of_samples - 1),
        line=element.integers("line"),
        noise=element.reals("noiseAzimuthLut"),
    )
    _same_length(element, "line", block.line, "noiseAzimuthLut", block.noise)
    return block


def _same_length(element: Document, name: str, one: Integers, other_name: str, other: Floats) -> None:
    if one.size != other.size:
        raise element.fail(f"has {one.size} {name} for {other.size} {other_name}")


def _read_geolocation_grid(document: Document) -> GeolocationGrid:
    points = document.every("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    line = np.array([point.integer("line") for point in points], dtype=np.int64)
    pixel = np.array([point.integer("pixel") for point in points], dtype=np.int64)
    rows, columns = np.unique(line), np.unique(pixel)
    shape = (rows.size, columns.size)
    order = np.lexsort((pixel, line))
    complete = line.size == rows.size * columns.size and min(shape) >= 2
    if not complete or (line[order] != np.repeat(rows, columns.size)).any() or (
        pixel[order] != np.tile(columns, rows.size)
    ).any():  # fmt: skip
        raise document.fail("its geolocation grid is not a full grid of lines and pixels")

    def field(name: str) -> Floats:
        return np.array([point.real(name) for point in points], dtype=np.float64)[order].reshape(shape)

    time = np.array([point.time("azimuthTime").replace(tzinfo=None) for point in points], dtype="datetime64[us]")
    return GeolocationGrid(
        line=rows,
        pixel=columns,
        azimuth_time=time[order].reshape(shape),
        slant_range_time=field("slantRangeTime"),
        latitude=field("latitude"),
        longitude=field("longitude"),
        height=field("height"),
        incidence_angle=field("incidenceAngle"),
        elevation_angle=field("elevationAngle"),
    )


def _leaf(path: str) -> str:
    return path.rsplit("/", 1)[-1]
