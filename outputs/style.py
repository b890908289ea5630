"""Map styles for slicks, scenes and probabilities: QGIS and OGC styles of the layers, a QGIS style of the raster."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr


@dataclass(frozen=True)
class Look:
    """One legend entry; `level` is null if confidence does not matter. `colour` is #rrggbb."""

    label: str
    slick_class: str
    level: str | None
    colour: str


LOOKS: tuple[Look, ...] = (
    Look("Oil, high confidence", "oil", "High", "#e31a1c"),
    Look("Oil, medium confidence", "oil", "Medium", "#ff7f00"),
    Look("Oil, low confidence", "oil", "Low", "#ffd11a"),
    Look("Look-alike", "look-alike", None, "#3fb8e8"),
)


def look_of(slick_class: str, level: str) -> Look:
    """The legend entry of a slick."""
    return next(look for look in LOOKS if look.slick_class == slick_class and look.level in (None, level))


# Probability, colour and opacity (0..255): violet, which no slick has; below 0.1 the map underneath shows.
PROBABILITY_RAMP: tuple[tuple[float, str, int], ...] = (
    (0.0, "#9e9ac8", 0),
    (0.1, "#9e9ac8", 0),
    (0.3, "#9e9ac8", 160),
    (0.5, "#756bb1", 220),
    (0.7, "#6a3dae", 240),
    (1.0, "#3f007d", 255),
)
_FILL_OPACITY = 0.35
_LINE_MM = 0.5


def probability_qml(band: int, name: str) -> str:
    """QGIS style of a probability raster: band `band`, the class `name`, from 0 to 1.

    By default QGIS shows the first three classes as red, green and blue: a red sea with black oil.
    """
    items = "\n".join(
        f'          <item value="{value:g}" color="{colour}" alpha="{alpha}" label={quoteattr(f"{name} {value:g}")}/>'
        for value, colour, alpha in PROBABILITY_RAMP
    )
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandpseudocolor" band="{band}" opacity="1" alphaBand="-1" nodataColor=""
        classificationMin="0" classificationMax="1">
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" minimumValue="0" maximumValue="1">
{items}
        </colorrampshader>
      </rastershader>
    </rasterrenderer>
  </pipe>
</qgis>
"""


def backscatter_qml() -> str:
    """QGIS style of the radar image: the first band in grey, from -25 to -5 dB."""
    return """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandgray" grayBand="1" opacity="1" alphaBand="-1" gradient="BlackToWhite"
        nodataColor="">
      <contrastEnhancement>
        <minValue>-25</minValue>
        <maxValue>-5</maxValue>
        <algorithm>StretchToMinimumMaximum</algorithm>
      </contrastEnhancement>
    </rasterrenderer>
  </pipe>
</qgis>
"""


def _qml() -> str:
    rules = "\n".join(
        f'      <rule key="rule{i}" symbol="{i}" label={quoteattr(look.label)} filter={quoteattr(_expression(look))}/>'
        for i, look in enumerate(LOOKS)
    )
    symbols = "\n".join(_qml_symbol(i, _fill(look)) for i, look in enumerate(LOOKS))
    tip = '[% "class" %], confidence [% round("confidence_mean", 2) %], [% round("area_m2" / 1e6, 2) %] km²'
    return _qml_layer("RuleRenderer", f'    <rules key="slicks">\n{rules}\n    </rules>\n', symbols, tip)


def _scenes_qml() -> str:
    """Outlines without fill."""
    outline = {"style": "no", "outline_color": "90,90,90,255", "outline_style": "solid", "outline_width": "0.3"}
    symbol = _qml_symbol(0, {**outline, "outline_width_unit": "MM"})
    found = """coalesce('nothing to see: ' || "nothing_to_see", "slick_count" || ' slicks')"""
    return _qml_layer("singleSymbol", "", symbol, f'[% "scene_id" %], [% {found} %]')


def _candidates_qml() -> str:
    """Dashed outlines without fill."""
    outline = {"style": "no", "outline_color": "106,61,174,255", "outline_style": "dash", "outline_width": "0.4"}
    symbol = _qml_symbol(0, {**outline, "outline_width_unit": "MM"})
    tip = '[% "rejected_by" %]: oil probability [% round("oil_probability", 2) %]'
    return _qml_layer("singleSymbol", "", symbol, tip)


def _qml_layer(renderer: str, rules: str, symbols: str, tip: str) -> str:
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.28.0" styleCategories="Symbology|MapTips">
  <renderer-v2 type="{renderer}" symbollevels="0" forceraster="0" enableorderby="0">
{rules}    <symbols>
{symbols}
    </symbols>
  </renderer-v2>
  <mapTip>{tip}</mapTip>
  <layerGeometryType>2</layerGeometryType>
</qgis>
"""


def _expression(look: Look) -> str:
    level = f" AND \"confidence_level\" = '{look.level}'" if look.level else ""
    return f"\"class\" = '{look.slick_class}'{level}"


def _fill(look: Look) -> dict[str, str]:
    red, green, blue = (int(look.colour[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "color": f"{red},{green},{blue},{round(255 * _FILL_OPACITY)}",
        "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid",
        "outline_width": str(_LINE_MM),
        "outline_width_unit": "MM",
        "joinstyle": "round",
        "style": "solid",
    }


def _qml_symbol(name: int, options: dict[str, str]) -> str:
    lines = "\n".join(
        f'            <Option type="QString" name="{key}" value="{value}"/>' for key, value in options.items()
    )
    return f"""      <symbol type="fill" name="{name}" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <Option type="Map">
{lines}
          </Option>
        </layer>
      </symbol>"""


def _sld() -> str:
    rules = "\n".join(_sld_rule(look) for look in LOOKS)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<StyledLayerDescriptor version="1.1.0" xmlns="http://www.opengis.net/sld" xmlns:se="http://www.opengis.net/se"
    xmlns:ogc="http://www.opengis.net/ogc">
  <NamedLayer>
    <se:Name>slicks</se:Name>
    <UserStyle>
      <se:Name>slicks by confidence</se:Name>
      <se:FeatureTypeStyle>
{rules}
      </se:FeatureTypeStyle>
    </UserStyle>
  </NamedLayer>
</StyledLayerDescriptor>
"""


def _sld_rule(look: Look) -> str:
    tests = _sld_equal("class", look.slick_class)
    if look.level:
        tests = f"<ogc:And>{tests}{_sld_equal('confidence_level', look.level)}</ogc:And>"
    return f"""        <se:Rule>
          <se:Name>{look.label}</se:Name>
          <ogc:Filter>{tests}</ogc:Filter>
          <se:PolygonSymbolizer>
            <se:Fill>
              <se:SvgParameter name="fill">{look.colour}</se:SvgParameter>
              <se:SvgParameter name="fill-opacity">{_FILL_OPACITY}</se:SvgParameter>
            </se:Fill>
            <se:Stroke>
              <se:SvgParameter name="stroke">{look.colour}</se:SvgParameter>
              <se:SvgParameter name="stroke-width">2</se:SvgParameter>
            </se:Stroke>
          </se:PolygonSymbolizer>
        </se:Rule>"""


def _sld_equal(name: str, value: str) -> str:
    return (
        f"<ogc:PropertyIsEqualTo><ogc:PropertyName>{name}</ogc:PropertyName>"
        f"<ogc:Literal>{value}</ogc:Literal></ogc:PropertyIsEqualTo>"
    )


QML = _qml()
SCENES_QML = _scenes_qml()
CANDIDATES_QML = _candidates_qml()
SLD = _sld()
