"""The manifest of a Sentinel-1 GRD product and the small documents beside it (preview, schemas).

Identifiers of data objects are formed from file names as ESA does it: letters and digits only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from pathlib import Path
from string import Template

from ingest.safe.metadata import Annotation
from ingest.safe_writing.orbit import orbit_of
from ingest.safe_writing.xml import timestamp

_SCHEMAS = {
    "s1Level1ProductSchema": ("s1-level-1-product.xsd", "product"),
    "s1Level1NoiseSchema": ("s1-level-1-noise.xsd", "noise"),
    "s1Level1CalibrationSchema": ("s1-level-1-calibration.xsd", "calibration"),
    "s1Level1MeasurementSchema": ("s1-level-1-measurement.xsd", "measurement"),
    "s1Level1QuickLookSchema": ("s1-level-1-quicklook.xsd", "quicklook"),
    "s1Level1ProductPreviewSchema": ("s1-product-preview.xsd", "html"),
    "s1Level1MapOverlaySchema": ("s1-map-overlay.xsd", "kml"),
}
_ANNOTATIONS = ("s1Level1ProductSchema", "s1Level1NoiseSchema", "s1Level1CalibrationSchema")
_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "gml": "http://www.opengis.net/gml",
        "xfdu": "urn:ccsds:schema:xfdu:1",
        "safe": "http://www.esa.int/safe/sentinel-1.0",
        "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
        "s1sar": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar",
        "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
    }.items()
)

_MANIFEST = Template("""\
<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU $namespaces version="esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/$package">
  <informationPackageMap>
    <xfdu:contentUnit unitType="SAFE Archive Information Package" textInfo="Sentinel-1 $mode Level-1 GRD Product" \
dmdID="acquisitionPeriod platform generalProductInformation measurementOrbitReference measurementFrameSet" \
pdiID="processing">
$units
    </xfdu:contentUnit>
  </informationPackageMap>
  <metadataSection>
$annotations
$metadata
$schemas
  </metadataSection>
  <dataObjectSection>
$objects
  </dataObjectSection>
</xfdu:XFDU>
""")
_UNIT = Template("""\
      <xfdu:contentUnit unitType="$kind" repID="$schema"$described>
        <dataObjectPointer dataObjectID="$id"/>
      </xfdu:contentUnit>""")
_ANNOTATION = Template("""\
    <metadataObject ID="${id}Annotation" classification="DESCRIPTION" category="DMD">
      <dataObjectPointer dataObjectID="$id"/>
    </metadataObject>""")
_METADATA = Template("""\
    <metadataObject ID="$id" classification="$classification" category="$category">
      <metadataWrap mimeType="text/xml" vocabularyName="SAFE" textInfo="$text">
        <xmlData>
$content
        </xmlData>
      </metadataWrap>
    </metadataObject>""")
_SCHEMA = Template("""\
    <metadataObject ID="$id" classification="SYNTAX" category="REP">
      <metadataReference mimeType="text/xml" vocabularyName="XML Schema" locatorType="URL" href="./support/$file"/>
    </metadataObject>""")
_OBJECT = Template("""\
    <dataObject ID="$id" repID="$schema">
      <byteStream mimeType="$mime" size="$size">
        <fileLocation locatorType="URL" href="./$href"/>
        <checksum checksumName="MD5">$checksum</checksum>
      </byteStream>
    </dataObject>""")

_PROCESSING = Template("""\
          <safe:processing name="GRD Post Processing" start="$start" stop="$stop">
            <safe:facility country="" name="Slickwatch" organisation="Slickwatch" site="">
              <safe:software name="Sentinel-1 IPF" version="$version"/>
            </safe:facility>
          </safe:processing>""")
_PLATFORM = Template("""\
          <safe:platform>
            <safe:nssdcIdentifier>0000-000$letter</safe:nssdcIdentifier>
            <safe:familyName>SENTINEL-1</safe:familyName>
            <safe:number>$letter</safe:number>
            <safe:instrument>
              <safe:familyName abbreviation="SAR">Synthetic Aperture Radar</safe:familyName>
              <safe:extension>
                <s1sarl1:instrumentMode>
                  <s1sarl1:mode>$mode</s1sarl1:mode>
                  <s1sarl1:swath>$swath</s1sarl1:swath>
                </s1sarl1:instrumentMode>
              </safe:extension>
            </safe:instrument>
          </safe:platform>""")
_ORBIT = Template("""\
          <safe:orbitReference>
            <safe:orbitNumber type="start">$absolute</safe:orbitNumber>
            <safe:orbitNumber type="stop">$absolute</safe:orbitNumber>
$relative
            <safe:cycleNumber>$cycle</safe:cycleNumber>
            <safe:phaseIdentifier>1</safe:phaseIdentifier>
            <safe:extension>
              <s1:orbitProperties>
                <s1:pass>$passing</s1:pass>
                <s1:ascendingNodeTime>$node</s1:ascendingNodeTime>
              </s1:orbitProperties>
            </safe:extension>
          </safe:orbitReference>""")
_PRODUCT = Template("""\
          <s1sarl1:standAloneProductInformation>
            <s1sarl1:instrumentConfigurationID>7</s1sarl1:instrumentConfigurationID>
            <s1sarl1:missionDataTakeID>$datatake</s1sarl1:missionDataTakeID>
$polarisations
            <s1sarl1:productClass>S</s1sarl1:productClass>
            <s1sarl1:productClassDescription>SAR Standard L1 Product</s1sarl1:productClassDescription>
            <s1sarl1:productComposition>Individual</s1sarl1:productComposition>
            <s1sarl1:productType>$kind</s1sarl1:productType>
            <s1sarl1:productTimelinessCategory>Fast-24h</s1sarl1:productTimelinessCategory>
            <s1sarl1:sliceProductFlag>false</s1sarl1:sliceProductFlag>
          </s1sarl1:standAloneProductInformation>""")
_PERIOD = Template("""\
          <safe:acquisitionPeriod>
            <safe:startTime>$start</safe:startTime>
            <safe:stopTime>$stop</safe:stopTime>
            <safe:extension>
              <s1:timeANX>
                <s1:startTimeANX>$start_anx</s1:startTimeANX>
                <s1:stopTimeANX>$stop_anx</s1:stopTimeANX>
              </s1:timeANX>
            </safe:extension>
          </safe:acquisitionPeriod>""")
_FRAME = Template("""\
          <safe:frameSet>
            <safe:frame>
              <safe:footPrint srsName="http://www.opengis.net/gml/srs/epsg.xml#4326">
                <gml:coordinates>$coordinates</gml:coordinates>
              </safe:footPrint>
            </safe:frame>
          </safe:frameSet>""")
_KML = Template("""\
<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2">
  <Document>
    <name>Sentinel-1 Map Overlay</name>
    <GroundOverlay>
      <name>Sentinel-1 Image Overlay</name>
      <Icon>
        <href>quick-look.png</href>
      </Icon>
      <gx:LatLonQuad>
        <coordinates>$coordinates</coordinates>
      </gx:LatLonQuad>
    </GroundOverlay>
  </Document>
</kml>
""")
_HTML = Template("""\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>$title</title></head>
<body>
<h1>$title</h1>
<p><img src="quick-look.png" alt="Quick look"></p>
<ul>
$items
</ul>
</body>
</html>
""")
_XSD = Template("""\
<?xml version="1.0" encoding="UTF-8"?>
<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <xsd:element name="$root"/>
</xsd:schema>
""")


@dataclass(frozen=True)
class DataObject:
    """One file of the product as the manifest lists it."""

    href: str  # relative to the product's folder, with forward slashes
    schema: str  # an `s1Level1...Schema`
    size: int
    checksum: str  # MD5

    @classmethod
    def of(cls, folder: Path, href: str, schema: str) -> DataObject:
        """Describe the file `href` in `folder` as it is on disk."""
        with (folder / href).open("rb") as file:
            checksum = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return cls(href, schema, (folder / href).stat().st_size, checksum)

    @property
    def id(self) -> str:
        """Letters and digits of the file's name; annotations are prefixed with their kind."""
        name = Path(self.href).stem
        prefix = "product" if self.schema == "s1Level1ProductSchema" else ""
        return prefix + "".join(character for character in name if character.isalnum())


def manifest_document(
    annotations: Sequence[Annotation], objects: Sequence[DataObject], version: str, relative_orbit: int | None
) -> bytes:
    """Write manifest.safe of a product whose images have `annotations` and whose files are `objects`."""
    annotation = annotations[0]
    described = [item for item in objects if item.schema in _ANNOTATIONS]
    return _MANIFEST.substitute(
        namespaces=_NAMESPACES,
        package=f"{annotation.mode.lower()}{'dp' if len(annotations) > 1 else 'sp'}",
        mode=annotation.mode,
        units="\n".join(_unit(item, described) for item in objects),
        annotations="\n".join(_ANNOTATION.substitute(id=item.id) for item in described),
        metadata="\n".join(_metadata(annotations, version, relative_orbit)),
        schemas="\n".join(_SCHEMA.substitute(id=name, file=file) for name, (file, _) in _SCHEMAS.items()),
        objects="\n".join(_object(item) for item in objects),
    ).encode()


def support_documents() -> dict[str, bytes]:
    """Make the schemas that the manifest references, each declaring only its root element."""
    return {f"support/{file}": _XSD.substitute(root=root).encode() for file, root in _SCHEMAS.values()}


def preview_documents(annotation: Annotation, title: str, hrefs: Iterable[str]) -> dict[str, bytes]:
    """Make map-overlay.kml and product-preview.html."""
    corners = " ".join(f"{lon:.6f},{lat:.6f}" for lat, lon in _corners(annotation))
    items = "\n".join(f'<li><a href="../{escape(href)}">{escape(href)}</a></li>' for href in hrefs)
    return {
        "preview/map-overlay.kml": _KML.substitute(coordinates=corners).encode(),
        "preview/product-preview.html": _HTML.substitute(title=escape(title), items=items).encode(),
    }


def _unit(item: DataObject, described: Iterable[DataObject]) -> str:
    measurement = item.schema == "s1Level1MeasurementSchema"
    stem = Path(item.href).stem.removesuffix("-cog")
    about = " ".join(f"{other.id}Annotation" for other in described if stem in other.href)
    return _UNIT.substitute(
        kind="Measurement Data Unit" if measurement else "Metadata Unit",
        schema=item.schema,
        described=f' dmdID="{about}"' if measurement else "",
        id=item.id,
    )


def _object(item: DataObject) -> str:
    mime = "text/xml" if item.href.endswith((".xml", ".kml", ".html")) else "application/octet-stream"
    return _OBJECT.substitute(
        id=item.id, schema=item.schema, mime=mime, size=item.size, href=item.href, checksum=item.checksum
    )


def _metadata(annotations: Sequence[Annotation], version: str, relative_orbit: int | None) -> Iterable[str]:
    annotation = annotations[0]
    processed = annotation.stop + timedelta(hours=3)
    describe = {"classification": "DESCRIPTION", "category": "DMD"}
    content = _PROCESSING.substitute(start=timestamp(annotation.stop), stop=timestamp(processed), version=version)
    yield _METADATA.substitute(
        id="processing", classification="PROVENANCE", category="PDI", text="Processing", content=content
    )
    content = _PLATFORM.substitute(letter=annotation.platform[-1], mode=annotation.mode, swath=annotation.swath)
    yield _METADATA.substitute(describe, id="platform", text="Platform Description", content=content)
    content = _orbit_reference(annotation, relative_orbit)
    yield _METADATA.substitute(describe, id="measurementOrbitReference", text="Orbit Reference", content=content)
    polarisations = "\n".join(
        f"            <s1sarl1:transmitterReceiverPolarisation>{each.polarisation}"
        "</s1sarl1:transmitterReceiverPolarisation>"
        for each in annotations
    )
    content = _PRODUCT.substitute(
        datatake=annotation.datatake, polarisations=polarisations, kind=annotation.product_type
    )
    yield _METADATA.substitute(
        describe, id="generalProductInformation", text="General Product Information", content=content
    )
    yield _METADATA.substitute(describe, id="acquisitionPeriod", text="Acquisition Period", content=_period(annotation))
    coordinates = " ".join(f"{lat:.6f},{lon:.6f}" for lat, lon in _corners(annotation))
    content = _FRAME.substitute(coordinates=coordinates)
    yield _METADATA.substitute(describe, id="measurementFrameSet", text="Frame Set", content=content)


def _orbit_reference(annotation: Annotation, relative_orbit: int | None) -> str:
    # The relative orbit is omitted if the platform's numbering is unknown
    numbers = [] if relative_orbit is None else [("start", relative_orbit), ("stop", relative_orbit)]
    return _ORBIT.substitute(
        absolute=annotation.absolute_orbit,
        relative="\n".join(
            f'            <safe:relativeOrbitNumber type="{end}">{number}</safe:relativeOrbitNumber>'
            for end, number in numbers
        ),
        cycle=annotation.absolute_orbit // 175 + 1,
        passing=annotation.pass_direction.upper(),
        node=timestamp(orbit_of(annotation).ascending_node),
    )


def _period(annotation: Annotation) -> str:
    node = orbit_of(annotation).ascending_node
    start, stop = ((time - node) / timedelta(milliseconds=1) for time in (annotation.start, annotation.stop))
    return _PERIOD.substitute(
        start=timestamp(annotation.start),
        stop=timestamp(annotation.stop),
        start_anx=f"{start:.6e}",
        stop_anx=f"{stop:.6e}",
    )


def _corners(annotation: Annotation) -> list[tuple[float, float]]:
    """Latitude and longitude of the corner pixels: last line near and far, first line far and near."""
    grid = annotation.geolocation_grid
    return [
        (float(grid.latitude[row, column]), float(grid.longitude[row, column]))
        for row, column in ((-1, 0), (-1, -1), (0, -1), (0, 0))
    ]
