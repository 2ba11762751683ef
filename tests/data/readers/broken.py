"""A corpus of broken files: for every reader its valid files, and what can be wrong with them.

To add a reader, add an entry to one of these dictionaries; every file that it names is broken in each of the ways of
`damage.ANY_FILE`, and in its own ways, `Reader.cases`. `Reader.shuffles` change the order of rows, which must not
change the section.

`read_spatialdata` is missing here: what it reads is a folder of zarr's chunks, of which a missing one is valid. Its
broken folders are in test_spatial_data.py.
"""

from tests.data.readers.broken_collections import COLLECTIONS
from tests.data.readers.broken_tables import TABLES
from tests.data.readers.broken_visium import VISIUM

READERS = TABLES | VISIUM | COLLECTIONS
