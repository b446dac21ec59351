"""The Stop button of a training that is watched, pressed in a real browser while the cell runs."""

CELL = """import time
from ftkit.widgets.loss_watcher import LossWatcher
def records():
    for step in range(1, 2001):
        time.sleep(0.05)
        yield {"step": step, "loss": 2 / step, "held_out_loss": None}
watcher = LossWatcher(every_s=0.3)
trace = list(watcher.watch(records()))
print("steps", len(trace), watcher.stopped)"""


def test_stop_ends_the_loop_at_the_next_step_and_the_cell_goes_on(opened, jupyter):
    page = opened(CELL)
    jupyter.start_cell(page)
    button = page.get_by_role("button", name="Stop", exact=True).and_(page.locator(".jupyter-widgets"))
    button.wait_for(timeout=jupyter.SHOWN_MS)
    page.locator(".jp-OutputArea img").wait_for(timeout=jupyter.SHOWN_MS)
    button.press("Enter")
    page.get_by_text("Stop was pressed.").wait_for(timeout=20_000)
    page.locator(".jp-OutputArea", has_text="steps").wait_for(timeout=20_000)
    said = page.locator(".jp-OutputArea").inner_text()
    assert "True" in said and int(said.split("steps ")[1].split()[0]) < 2000
    assert button.count() == 0 and page.errors == []
