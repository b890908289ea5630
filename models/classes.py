"""The codes that labels use: the five classes of OSD, and two marks for pixels of which less is known."""

CLASSES = ("sea", "oil", "look-alike", "ship", "land")  # those of OSD
SEA, OIL, LOOK_ALIKE, SHIP, LAND = range(len(CLASSES))
OIL_CLASSES = ("other", "oil")  # of data sets that only know oil
NOT_OIL = 254  # label of pixels known not to be oil but not what else they are (data sets with oil masks alone)
IGNORE = 255  # label of pixels that say nothing, such as no data
LABEL_NAMES = dict(enumerate(CLASSES)) | {NOT_OIL: "not oil", IGNORE: "no data"}
