import numpy as np

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.widgets import gene_picker

TARGET = Target(("ERBB2", "FASN", "COL1A1"))


def test_gene_picker_has_a_state_without_a_kernel(cohort):
    prediction = Ridge(target=TARGET).fit(cohort[1:2]).predict(cohort[0])
    widget = gene_picker(cohort[0], TARGET, ["FASN", "ERBB2"], prediction)
    picker, stack = widget.children
    assert picker.options == ("FASN", "ERBB2") and stack.selected_index == 0
    page = widget.to_html()
    assert page.count("<option>") == 2 and page.count("data:image/jpeg;base64,") == 2
    assert page.count(" hidden>") == 1, "the first frame is shown"
    truth = expression(cohort[0], TARGET)[:, 1]
    r = np.corrcoef(truth, prediction.X[:, 1])[0, 1]
    assert f"FASN measured in 168 spots: mean {truth.mean():.2f}" in page and f"r = {r:.2f}" in page
    assert widget._repr_mimebundle_()["text/html"]
