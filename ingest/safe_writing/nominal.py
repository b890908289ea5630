"""Annotation elements that ESA's schema requires but no reader of detected images uses.

Downlink, raw-data analysis, replica, Doppler and processing parameters have nominal values of the IW mode;
times, swaths, sizes and angles are the image's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.safe.metadata import Annotation
from ingest.safe_writing.orbit import SEMI_MAJOR, SEMI_MINOR
from ingest.safe_writing.xml import Content, Repeated

RADAR_FREQUENCY, RANGE_SAMPLING_RATE = 5.405000454334350e9, 6.434523812571428e7  # Hz
_PULSE_FREQUENCY = 1717.128973878037  # Hz
_PULSE_LENGTH, _PULSE_BANDWIDTH = 5.240481033595628e-5, 5.65e7  # s, Hz
_BIT_ERRORS = (
    "SyncMarker", "DataTakeId", "EccNumber", "TestMode", "RxChannelId", "InstrumentConfigId", "PacketCount",
    "PriCount", "SsbErrorFlag", "BaqMode", "BaqBlockLength", "RangeDecimation", "RxGain", "TxRampRate",
    "TxPulseStartFrequency", "Rank", "Pri", "Swst", "Swl", "Polarisation", "TempComp", "ElevationBeamAddress",
    "AzimuthBeamAddress", "SasTestMode", "CalType", "CalibrationBeamAddress", "CalMode", "TxPulseNumber",
    "SignalType", "SwapFlag", "SwathNumber", "NumberOfQuads",
)  # fmt: skip
_PATTERN_POINTS = 21
_INTERFERENCE: Mapping[str, Content] = {
    "rfiMitigationPerformed": "Never",
    "rfiMitigationDomain": "TimeAndFrequency",
}
_INTERFERENCE_SINCE = "003.40"  # IPF version


def near_time(annotation: Annotation) -> float:
    """Two-way slant range time of the first sample in s."""
    return float(annotation.geolocation_grid.slant_range_time[0, 0])


def statistics_content(statistics: tuple[float, float]) -> Mapping[str, Content]:
    """Mean and deviation of the detected image as complex numbers."""
    mean, deviation = statistics
    return {"outputDataMean": {"re": mean, "im": 0.0}, "outputDataStdDev": {"re": deviation, "im": 0.0}}


def quality(annotation: Annotation, statistics: tuple[float, float]) -> Mapping[str, Content]:
    """One record of data quality: nothing missing, nothing flagged."""
    return {
        "azimuthTime": annotation.start,
        "downlinkQuality": _downlink_quality(),
        "rawDataAnalysisQuality": {
            "iBias": 0.0,
            "iBiasSignificanceFlag": False,
            "qBias": 0.0,
            "qBiasSignificanceFlag": False,
            "iqGainImbalance": 1.0,
            "iqGainSignificanceFlag": False,
            "iqQuadratureDeparture": 0.0,
            "iqQuadratureDepartureSignificanceFlag": False,
        },
        "dopplerCentroidQuality": {"dcMethod": "Data Analysis", "dopplerCentroidUncertainFlag": False},
        "imageQuality": {
            "imageStatistics": statistics_content(statistics),
            "outputDataMeanOutsideNominalRangeFlag": False,
            "outputDataStDevOutsideNominalRangeFlag": False,
        },
    }


def _downlink_quality() -> Mapping[str, Content]:
    gaps: dict[str, Content] = {}
    for kind, flag in (("Downlink", "downlink"), ("Instrument", "instrument"), ("SsbError", "ssbError")):
        gaps |= {
            f"num{kind}InputDataGaps": 0,
            f"{flag}GapsInInputDataSignificantFlag": False,
            f"num{kind}InputMissingLines": 0,
            f"{flag}MissingLinesSignificantFlag": False,
        }
    return {
        "iInputDataMean": 0.0,
        "qInputDataMean": 0.0,
        "inputDataMeanOutsideNominalRangeFlag": False,
        "iInputDataStdDev": 9.0,
        "qInputDataStdDev": 9.0,
        "inputDataStDevOutsideNominalRangeFlag": False,
        **gaps,
        "chirpSourceUsed": "Nominal",
        "pgSourceUsed": "Extracted",
        "rrfSpectrumUsed": "Extended Tapered",
        "replicaReconstructionFailedFlag": False,
        "meanPgProductAmplitude": 0.65,
        "stdDevPgProductAmplitude": 0.0,
        "meanPgProductPhase": 0.0,
        "stdDevPgProductPhase": 0.0,
        "pgProductDerivationFailedFlag": False,
        "invalidDownlinkParamsFlag": False,
    }


def downlink(annotation: Annotation, swath: str) -> Mapping[str, Content]:
    """The downlink of one sub-swath, without bit errors."""
    return {
        "swath": swath,
        "azimuthTime": annotation.start,
        "firstLineSensingTime": annotation.start,
        "lastLineSensingTime": annotation.stop,
        "prf": _PULSE_FREQUENCY,
        "bitErrorCount": {**{f"numErr{kind}": 0 for kind in _BIT_ERRORS}, "numIspHeaderErrors": 0},
        "downlinkValues": {
            "pri": 1.0 / _PULSE_FREQUENCY,
            "rank": 9,
            "dataTakeId": annotation.datatake % 65_536,
            "eccNumber": 8,
            "rxChannelId": 0,
            "instrumentConfigId": 7,
            "dataFormat": {
                "baqBlockLength": 256,
                "echoFormat": "FDBAQ",
                "noiseFormat": "BAQ 5 Bit",
                "calibrationFormat": "Decimation",
                "meanBitRate": 1.5,
            },
            "rangeDecimation": {
                "decimationFilterBandwidth": 5.659e7,
                "samplingFrequencyAfterDecimation": RANGE_SAMPLING_RATE,
                "filterLength": 36,
            },
            "rxGain": -4.0,
            "txPulseLength": _PULSE_LENGTH,
            "txPulseStartFrequency": -_PULSE_BANDWIDTH / 2,
            "txPulseRampRate": _PULSE_BANDWIDTH / _PULSE_LENGTH,
            "swathNumber": 10,
            "swlList": Repeated("swl", [{"azimuthTime": annotation.start, "value": 3.7e-4}]),
            "swstList": Repeated("swst", [{"azimuthTime": annotation.start, "value": 1.1e-4}]),
            "pointingStatusList": Repeated("pointingStatus", []),
        },
    }


def raw_data_analysis(annotation: Annotation) -> Mapping[str, Content]:
    """Raw data without bias, imbalance or quadrature error."""
    limits: dict[str, Content] = {}
    for name, middle in (("iBias", 0.0), ("qBias", 0.0), ("iqGain", 1.0), ("iqQuadratureDeparture", 0.0)):
        limits |= {f"{name}UpperBound": middle + 0.01, f"{name}LowerBound": middle - 0.01}
    used = {"iBias": 0.0, "qBias": 0.0, "iqGainImbalance": 1.0, "iqQuadratureDeparture": 0.0}
    return {
        "azimuthTime": annotation.start,
        "iBias": 0.0,
        "qBias": 0.0,
        "iqQuadratureDeparture": 0.0,
        "iqGainImbalance": 1.0,
        "support": {**limits, **{f"{name}UsedForCorrection": value for name, value in used.items()}},
    }


def replica(annotation: Annotation, swath: str) -> Mapping[str, Content]:
    """The nominal chirp of one sub-swath."""
    rate = _PULSE_BANDWIDTH / _PULSE_LENGTH
    return {
        "swath": swath,
        "referenceReplica": {
            "azimuthTime": annotation.start,
            "chirpSource": "Nominal",
            "pgSource": "Extracted",
            "amplitudeCoefficients": np.array([1.0, 0.0, 0.0, 0.0]),
            "phaseCoefficients": np.array([0.0, 0.0, rate / 2, 0.0]),
            "timeDelay": 4.4e-7,
            "gain": {"re": 1.0, "im": 0.0},
        },
        "replicaList": Repeated("replica", []),
    }


def doppler(annotation: Annotation) -> Mapping[str, Content]:
    """A Doppler centroid of zero."""
    zero = np.zeros(3)
    return {
        "azimuthTime": annotation.start,
        "t0": near_time(annotation),
        "geometryDcPolynomial": zero,
        "dataDcPolynomial": zero,
        "dataDcRmsError": 0.0,
        "dataDcRmsErrorAboveThreshold": False,
        "fineDceAzimuthStartTime": annotation.start,
        "fineDceAzimuthStopTime": annotation.stop,
        "fineDceList": Repeated("fineDce", []),
    }


def processing_information(annotation: Annotation, swaths: Sequence[str], version: str) -> Mapping[str, Content]:
    """How the image was processed: detected, multi-looked, projected to ground range."""
    window: Mapping[str, Content] = {
        "windowType": "Hamming",
        "windowCoefficient": 0.7,
        "totalBandwidth": 5.65e7,
        "processingBandwidth": 5.65e7,
        "lookBandwidth": 1.41e7,
        "numberOfLooks": 5,
        "lookOverlap": 3.5e6,
    }
    azimuth = {**window, "totalBandwidth": 327.0, "processingBandwidth": 327.0, "lookBandwidth": 327.0}
    azimuth |= {"numberOfLooks": 1, "lookOverlap": 0.0}
    done = ("rxVariationCorrectionApplied", "antennaElevationPatternApplied", "antennaAzimuthPatternApplied")
    return {
        "rawDataAnalysisUsed": True,
        "orbitDataFileUsed": True,
        "attitudeDataFileUsed": False,
        **dict.fromkeys(done, True),
        "antennaAzimuthElementPatternApplied": True,
        "dcMethod": "Data Analysis",
        "dcInputData": "Range Compressed",
        "rangeSpreadingLossCompensationApplied": True,
        "srgrConversionApplied": True,
        "detectionPerformed": True,
        "thermalNoiseCorrectionPerformed": annotation.noise_removed,
        **(_INTERFERENCE if version >= _INTERFERENCE_SINCE else {}),
        "chirpSource": "Nominal",
        "pgSource": "Extracted",
        "rrfSpectrum": "Extended Tapered",
        "applicationLutId": f"{annotation.swath}_Default",
        "swathProcParamsList": Repeated(
            "swathProcParams",
            [
                {"swath": n, "rangeProcessing": window, "azimuthProcessing": azimuth, "processorScalingFactor": 8.8e11}
                for n in swaths
            ],
        ),
        "inputDimensionsList": Repeated(
            "inputDimensions",
            [
                {
                    "azimuthTime": annotation.start,
                    "swath": name,
                    "numberOfInputSamples": annotation.number_of_samples,
                    "numberOfInputLines": annotation.number_of_lines,
                }
                for name in swaths
            ],
        ),
        "referenceRange": 8.0e5,
        "ellipsoidName": "WGS84",
        "ellipsoidSemiMajorAxis": SEMI_MAJOR,
        "ellipsoidSemiMinorAxis": SEMI_MINOR,
        "bistaticDelayCorrectionApplied": True,
        "topsFilterConvention": "Only Echo Lines",
        "orbitSource": "Auxiliary",
        "attitudeSource": "Downlink",
    }


def antenna_pattern(annotation: Annotation, swath: str, first: int, last: int) -> Mapping[str, Content]:
    """The elevation pattern of one sub-swath between its first and last sample, as a parabola."""
    grid = annotation.geolocation_grid
    pixel = np.linspace(first, last, _PATTERN_POINTS)

    def across(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.interp(pixel, grid.pixel, values[0]))

    return {
        "swath": swath,
        "azimuthTime": annotation.start,
        "slantRangeTime": tuple(across(grid.slant_range_time).tolist()),
        "elevationAngle": across(grid.elevation_angle),
        "elevationPattern": (1.0 - 0.5 * np.linspace(-1.0, 1.0, _PATTERN_POINTS) ** 2).astype(np.complex128),
        "incidenceAngle": across(grid.incidence_angle),
        "terrainHeight": float(grid.height.mean()),
        "roll": 29.45,
    }
