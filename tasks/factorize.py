"""Stage `factorize`: put thin layers in the place of wide ones, then optionally train the variant to recover.

in      data/models/<source>, data/calibration, data/prepared/{train,validation,calibration}.arrow
out     data/models/<variant>
params  workload, seed, calibrate, gate.metric, factorize.<variant>
"""

from slimline.stage import stage_main
from tasks.edit import main
from tasks.variant import note_missed

if __name__ == "__main__":
    stage_main("factorize", main, __doc__, per="variant", on_miss=note_missed)
