"""Stage `prune`: remove weights, channels, heads or blocks of a variant, then train it to recover.

in      data/models/<source>, data/calibration, data/prepared/{train,validation,calibration}.arrow
out     data/models/<variant>; while a long method runs, data/checkpoints/<variant>
params  workload, seed, calibrate, gate.metric, prune.<variant>
"""

from slimline.stage import stage_main
from tasks.edit import main
from tasks.variant import note_missed

if __name__ == "__main__":
    stage_main("prune", main, __doc__, per="variant", on_miss=note_missed)
