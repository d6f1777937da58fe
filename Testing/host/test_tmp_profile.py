import cProfile, pstats, sys, time
from test_end_to_end import engine, panel, load_sample, place, landmarks  # noqa
def test_profile(panel, wait_until, ui_blocking):
    load_sample(panel, wait_until)
    lp = panel.widget.panels.panels[1]
    old = lp._placed
    prof = cProfile.Profile()
    def placed(r):
        t=time.perf_counter(); prof.enable(); old(r); prof.disable(); print('PLACED', time.perf_counter()-t)
    lp._placed = placed
    with ui_blocking:
        place(panel, wait_until)
    print('BLOCK', ui_blocking.longest)
    pstats.Stats(prof).sort_stats('cumulative').print_stats(45)
