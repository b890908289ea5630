"""The documents of a Sentinel-1 GRD product: annotation, calibration and noise.

Element names and order follow ESA's S1-RS-MDA-52-7441, Sentinel-1 Product Specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import numpy as np

from ingest.errors import UsageError
from ingest.safe.metadata import Annotation, CalibrationVector, ImageMetadata, NoiseAzimuthBlock, ThermalNoise
from ingest.safe_writing import nominal
from ingest.safe_writing.orbit import SPEED_OF_LIGHT, CircularOrbit, orbit_of
from ingest.safe_writing.xml import Content, Repeated, document

_ORBIT_MARGIN, _ORBIT_STEP = 60.0, 10.0  # s
_SUBSWATHS = {"IW": 3, "EW": 5}


def annotation_document(
    annotation: Annotation, statistics: tuple[float, float], blocks: Sequence[NoiseAzimuthBlock], version: str
) -> bytes:
    """Write the annotation in the form of an IPF `version` such as 003.71.

    `statistics` are mean and deviation of the digital numbers; the noise `blocks` bound the sub-swaths.
    """
    orbit = orbit_of(annotation)
    spans = _swath_spans(annotation, blocks)
    names, last_line = list(spans), annotation.number_of_lines - 1
    return document(
        "product",
        {
            "adsHeader": _header(annotation),
            "qualityInformation": {
                "productQualityIndex": 0.0,
                "qualityDataList": Repeated("qualityData", [nominal.quality(annotation, statistics)]),
            },
            "generalAnnotation": _general(annotation, orbit, names),
            "imageAnnotation": {
                "imageInformation": _image_information(annotation, orbit, statistics),
                "processingInformation": nominal.processing_information(annotation, names, version),
            },
            "dopplerCentroid": {"dcEstimateList": Repeated("dcEstimate", [nominal.doppler(annotation)])},
            "antennaPattern": {
                "antennaPatternList": Repeated(
                    "antennaPattern",
                    [nominal.antenna_pattern(annotation, name, *span) for name, span in spans.items()],
                )
            },
            "swathTiming": {"linesPerBurst": 0, "samplesPerBurst": 0, "burstList": Repeated("burst", [])},
            "geolocationGrid": {
                "geolocationGridPointList": Repeated("geolocationGridPoint", list(_tie_points(annotation)))
            },
            "coordinateConversion": {
                "coordinateConversionList": Repeated("coordinateConversion", [_conversion(annotation)])
            },
            "swathMerging": {
                "swathMergeList": Repeated(
                    "swathMerge",
                    [_swath_merge(annotation, name, *span, last_line) for name, span in spans.items()],
                )
            },
        },
    )


def calibration_document(metadata: ImageMetadata) -> bytes:
    """Write the calibration look-up tables."""
    return document(
        "calibration",
        {
            "adsHeader": _header(metadata.annotation),
            "calibrationInformation": {"absoluteCalibrationConstant": 1.0},
            "calibrationVectorList": Repeated("calibrationVector", [_calibration(v) for v in metadata.calibration]),
        },
    )


def noise_document(metadata: ImageMetadata, schema: str) -> bytes:
    """Write the thermal noise, by `schema` "azimuth" (IPF 2.90 and later) or "vector" (before)."""
    header = _header(metadata.annotation)
    if schema == "azimuth":
        return document("noise", {"adsHeader": header, **_noise_lists(metadata.noise)})
    if schema != "vector":
        raise UsageError(schema, "unknown noise schema", "use azimuth or vector")
    if metadata.noise.azimuth_blocks:
        raise UsageError(
            metadata.annotation.polarisation,
            "its azimuth blocks of noise do not fit the vector schema",
            "make the metadata without azimuth blocks",
        )
    vectors: list[Content] = [
        {"azimuthTime": v.azimuth_time, "line": v.line, "pixel": v.pixel, "noiseLut": v.noise}
        for v in metadata.noise.range_vectors
    ]
    return document("noise", {"adsHeader": header, "noiseVectorList": Repeated("noiseVector", vectors)})


def _header(annotation: Annotation) -> Mapping[str, Content]:
    return {
        "missionId": annotation.platform,
        "productType": annotation.product_type,
        "polarisation": annotation.polarisation,
        # The schema knows StripMap by its beam only; the manifest says SM
        "mode": annotation.swath if annotation.mode == "SM" else annotation.mode,
        "swath": annotation.swath,
        "startTime": annotation.start,
        "stopTime": annotation.stop,
        "absoluteOrbitNumber": annotation.absolute_orbit,
        "missionDataTakeId": annotation.datatake,
        "imageNumber": f"{annotation.image_number:03d}",
    }


def _calibration(vector: CalibrationVector) -> Mapping[str, Content]:
    return {
        "azimuthTime": vector.azimuth_time,
        "line": vector.line,
        "pixel": vector.pixel,
        "sigmaNought": vector.sigma_nought,
        "betaNought": vector.beta_nought,
        "gamma": vector.gamma,
        "dn": vector.dn,
    }


def _noise_lists(noise: ThermalNoise) -> Mapping[str, Content]:
    vectors: list[Content] = [
        {"azimuthTime": v.azimuth_time, "line": v.line, "pixel": v.pixel, "noiseRangeLut": v.noise}
        for v in noise.range_vectors
    ]
    blocks: list[Content] = [
        {
            "swath": b.swath,
            **_bounds(b.first_line, b.first_pixel, b.last_line, b.last_pixel),
            "line": b.line,
            "noiseAzimuthLut": b.noise,
        }
        for b in noise.azimuth_blocks
    ]
    return {
        "noiseRangeVectorList": Repeated("noiseRangeVector", vectors),
        "noiseAzimuthVectorList": Repeated("noiseAzimuthVector", blocks),
    }


def _bounds(first_line: int, first_pixel: int, last_line: int, last_pixel: int) -> Mapping[str, Content]:
    return {
        "firstAzimuthLine": first_line,
        "firstRangeSample": first_pixel,
        "lastAzimuthLine": last_line,
        "lastRangeSample": last_pixel,
    }


def _swath_spans(annotation: Annotation, blocks: Sequence[NoiseAzimuthBlock]) -> dict[str, tuple[int, int]]:
    """First and last sample of each sub-swath: from the noise blocks, else in equal parts."""
    spans: dict[str, tuple[int, int]] = {}
    for block in blocks:
        first, last = spans.get(block.swath, (block.first_pixel, block.last_pixel))
        spans[block.swath] = min(first, block.first_pixel), max(last, block.last_pixel)
    if spans:
        return spans
    count = _SUBSWATHS.get(annotation.mode, 1)
    edges = np.linspace(0, annotation.number_of_samples, count + 1).round().astype(int).tolist()
    names = [annotation.swath] if count == 1 else [f"{annotation.mode}{number + 1}" for number in range(count)]
    return {name: (edges[number], edges[number + 1] - 1) for number, name in enumerate(names)}


def _swath_merge(annotation: Annotation, name: str, first: int, last: int, last_line: int) -> Mapping[str, Content]:
    bounds = {"azimuthTime": annotation.start, **_bounds(0, first, last_line, last)}
    return {"swath": name, "swathBoundsList": Repeated("swathBounds", [bounds])}


def _tie_points(annotation: Annotation) -> Iterable[Mapping[str, Content]]:
    grid = annotation.geolocation_grid
    for i, line in enumerate(grid.line.tolist()):
        for j, pixel in enumerate(grid.pixel.tolist()):
            yield {
                "azimuthTime": grid.azimuth_time[i, j],
                "slantRangeTime": float(grid.slant_range_time[i, j]),
                "line": line,
                "pixel": pixel,
                "latitude": float(grid.latitude[i, j]),
                "longitude": float(grid.longitude[i, j]),
                "height": float(grid.height[i, j]),
                "incidenceAngle": float(grid.incidence_angle[i, j]),
                "elevationAngle": float(grid.elevation_angle[i, j]),
            }


def _general(annotation: Annotation, orbit: CircularOrbit, swaths: Sequence[str]) -> Mapping[str, Content]:
    return {
        "productInformation": {
            "pass": annotation.pass_direction,
            "timelinessCategory": "Fast-24h",
            "platformHeading": _heading(annotation),
            "projection": "Ground Range",
            "rangeSamplingRate": nominal.RANGE_SAMPLING_RATE,
            "radarFrequency": nominal.RADAR_FREQUENCY,
            "azimuthSteeringRate": 0.0 if annotation.mode == "SM" else 1.590368784,
        },
        "downlinkInformationList": Repeated("downlinkInformation", [nominal.downlink(annotation, n) for n in swaths]),
        "orbitList": Repeated("orbit", list(_state_vectors(annotation, orbit))),
        "attitudeList": Repeated("attitude", []),
        "rawDataAnalysisList": Repeated("rawDataAnalysis", [nominal.raw_data_analysis(annotation)] * len(swaths)),
        "replicaInformationList": Repeated("replicaInformation", [nominal.replica(annotation, n) for n in swaths]),
        "noiseList": Repeated("noise", []),
        "terrainHeightList": Repeated(
            "terrainHeight",
            [{"azimuthTime": annotation.start, "value": float(annotation.geolocation_grid.height.mean())}],
        ),
        "azimuthFmRateList": Repeated(
            "azimuthFmRate",
            [
                {
                    "azimuthTime": annotation.start,
                    "t0": nominal.near_time(annotation),
                    "azimuthFmRatePolynomial": (-2338.0, 4.384e5, -7.396e7),
                }
            ],
        ),
    }


def _heading(annotation: Annotation) -> float:
    """Direction of increasing lines in degrees from north, from the tie points' first column."""
    grid = annotation.geolocation_grid
    north = grid.latitude[-1, 0] - grid.latitude[0, 0]
    turn = (grid.longitude[-1, 0] - grid.longitude[0, 0] + 180.0) % 360.0 - 180.0
    return float(np.degrees(np.arctan2(turn * np.cos(np.radians(grid.latitude[0, 0])), north)))


def _state_vectors(annotation: Annotation, orbit: CircularOrbit) -> Iterable[Mapping[str, Content]]:
    begin = (annotation.start - orbit.epoch).total_seconds() - _ORBIT_MARGIN
    end = (annotation.stop - orbit.epoch).total_seconds() + _ORBIT_MARGIN
    seconds = np.arange(begin, end + _ORBIT_STEP, _ORBIT_STEP).round(6)
    for second, position, velocity in zip(seconds.tolist(), *orbit.state(seconds), strict=True):
        yield {
            "time": orbit.epoch + timedelta(seconds=second),
            "frame": "Earth Fixed",
            "position": dict(zip("xyz", position.tolist(), strict=True)),
            "velocity": dict(zip("xyz", velocity.tolist(), strict=True)),
        }


def _image_information(
    annotation: Annotation, orbit: CircularOrbit, statistics: tuple[float, float]
) -> Mapping[str, Content]:
    seconds = (annotation.stop - annotation.start).total_seconds()
    interval = seconds / max(annotation.number_of_lines - 1, 1)
    grid = annotation.geolocation_grid
    middle = grid.incidence_angle[len(grid.line) // 2, len(grid.pixel) // 2]
    return {
        "productFirstLineUtcTime": annotation.start,
        "productLastLineUtcTime": annotation.stop,
        "ascendingNodeTime": orbit.ascending_node,
        "anchorTime": annotation.start,
        "productComposition": "Individual",
        "sliceNumber": 0,
        "sliceList": Repeated("slice", []),
        "slantRangeTime": nominal.near_time(annotation),
        "pixelValue": "Detected",
        "outputPixels": "16 bit Unsigned Integer",
        "rangePixelSpacing": annotation.range_pixel_spacing,
        "azimuthPixelSpacing": annotation.azimuth_pixel_spacing,
        "azimuthTimeInterval": interval,
        "azimuthFrequency": 1.0 / interval if interval else 0.0,
        "numberOfSamples": annotation.number_of_samples,
        "numberOfLines": annotation.number_of_lines,
        "zeroDopMinusAcqTime": 0.0,
        "incidenceAngleMidSwath": float(middle),
        "imageStatistics": nominal.statistics_content(statistics),
    }


def _conversion(annotation: Annotation) -> Mapping[str, Content]:
    """Polynomials between slant and ground range in m, fitted to the tie points of the first line."""
    grid = annotation.geolocation_grid
    ground = grid.pixel * annotation.range_pixel_spacing
    slant = grid.slant_range_time[0] * SPEED_OF_LIGHT / 2
    degree = min(4, len(ground) - 1)
    to_ground = np.polynomial.Polynomial.fit(slant - slant[0], ground, degree).convert().coef
    to_slant = np.polynomial.Polynomial.fit(ground, slant, degree).convert().coef
    return {
        "azimuthTime": annotation.start,
        "slantRangeTime": nominal.near_time(annotation),
        "sr0": float(slant[0]),
        "srgrCoefficients": tuple(map(float, to_ground)),
        "gr0": 0.0,
        "grsrCoefficients": tuple(map(float, to_slant)),
    }
