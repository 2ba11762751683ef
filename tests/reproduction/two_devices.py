"""Runs ``stlearn-lib`` on simulated genes and a small method: ``python two_devices.py reproduce run ...``.

`test_devices.py` starts it; with ``--devices 2`` it starts itself once more, as the command line does.
"""

from dataclasses import replace

from stlearn_lib.cli import main
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.registry import METHODS
from stlearn_lib.reproduction import tasks

NAME = "nh2st_skin_cpu"
PRESET = PRESETS[NAME]
TRAINING = replace(PRESET.create().options.training, epochs=2, batch_size=16)
# Without dropout, of which each process draws its own.
SETTINGS = {**PRESET.settings, "features": ("colour_texture",), "dropout": 0.0, "training": TRAINING}
METHOD = replace(PRESET, settings=SETTINGS).create

if __name__ == "__main__":
    METHODS[NAME] = METHOD
    tasks.load_gene_list = lambda name, **_: gene_names()
    main()
