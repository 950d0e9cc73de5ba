"""Networks of published shapes beside ours: they are as large as published, and the comparison adds up."""

import json
from functools import partial

import pytest
import torch

from occflow.command_line import compose_config
from occflow.errors import InputError
from studies import config_of
from studies.peers.occfm import HORIZON, OccFM
from studies.peers.occfm_autoencoder import OccFMCoding
from studies.peers.occfm_flow import OccFMFlowShape
from studies.peers.occworld import OccWorld, OccWorldShape
from studies.peers.occworld_autoencoder import OccWorldCoding
from studies.peers.report import report_markdown
from studies.peers.rows import PEERS, Form, totals
from studies.peers.study import Peer, Plan, compare, comparison, parameters, peer_multiply_adds
from studies.peers.windows import planar, shifted_apart, windowed

CPU = torch.device("cpu")
SMALL_CODING = OccFMCoding(edge=40, heights=4, width=16, encoder_blocks=(2, 2), decoder_blocks=(2, 2), heads=2)
SMALL_FLOW = OccFMFlowShape(edge=10, first_width=16, widths=(16, 32), condition=16, heads=2, head_channels=4)
SMALL_CODES = OccWorldCoding(heights=4, widths=(16, 32, 64), code_channels=16, codes=8)
SMALL_WORLD = OccWorldShape(edge=10, code_channels=16, widths=(16, 32, 64), codes=8, layers=1, pose_layers=1, heads=2)


def small_classes(edge: int, frames: int = 1) -> torch.Tensor:
    return torch.randint(0, 18, (frames, edge, edge, 4))


@pytest.fixture()
def occfm():
    torch.manual_seed(0)
    return OccFM(SMALL_CODING, SMALL_FLOW).eval().requires_grad_(False)


@pytest.fixture()
def occworld():
    torch.manual_seed(0)
    return OccWorld(SMALL_CODES, SMALL_WORLD).eval().requires_grad_(False)


def test_occfm_has_as_many_weights_as_published():
    with torch.device("meta"):
        assert f"{parameters(OccFM()) / 1e6:.2f}" == "30.37"


@pytest.mark.parametrize(("name", "latents"), [("occfm", (4, 16, 50, 50)), ("occworld", (5, 128, 50, 50))])
def test_latents_and_labels_have_the_published_shapes(name, latents):
    with torch.device("meta"), torch.no_grad():
        network = PEERS[name].build()
        classes = torch.zeros(latents[0], 200, 200, 16, dtype=torch.long)
        encoded = network.encode(classes)
        assert encoded.shape == latents
        if name == "occfm":
            future = network.in_one_step(network.past(encoded), torch.zeros(1, 12, 2))
        else:
            future = network.forecast(encoded, torch.zeros(1, 5, 2))
        assert future.shape == (6, *latents[1:])
        assert network.labels(future).shape == network.lean_labels(future).shape == (6, 200, 200, 16)


def test_windows_are_taken_apart_and_put_together():
    plane = torch.randn(2, 10, 15, 3)
    parts = windowed(plane, 5)
    assert parts.shape == (12, 25, 3)
    assert torch.equal(parts[1].view(5, 5, 3), plane[0, :5, 5:10])
    assert torch.equal(planar(parts, 5, 10, 15), plane)


def test_only_places_that_were_neighbours_before_the_shift_see_each_other():
    x, y = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    far = []
    for number in (x, y):
        rows = windowed(number.roll((-2, -2), (0, 1))[None, :, :, None], 5)[..., 0]
        far.append((rows[:, :, None] - rows[:, None]).abs() >= 5)
    assert torch.equal(shifted_apart(5, 2, 10, 10)[:, 0] < 0, far[0] | far[1])


def test_lean_decoding_is_the_same_decoding(occfm, occworld):
    latents = torch.randn(3, 16, 10, 10)
    assert torch.equal(occfm.labels(latents), occfm.lean_labels(latents))
    codes = occworld.encode(small_classes(40, 2))
    assert torch.equal(occworld.labels(codes), occworld.lean_labels(codes))


def test_guidance_that_sees_no_difference_is_one_evaluation(occfm):
    past, future = torch.zeros(1, HORIZON, 16, 10, 10), torch.randn(1, HORIZON, 16, 10, 10)
    route = torch.randn(1, 12, 2)
    one = occfm.evaluated(past, future, 0.3, route)
    assert one.shape == past.shape
    assert torch.allclose(occfm.guided(past, future, 0.3, route), one, atol=1e-5)
    assert occfm.sampled(past, route).shape == past.shape[1:]


def test_the_flow_depends_on_history_time_and_route(occfm):
    past, future = torch.randn(2, 1, HORIZON, 16, 10, 10)
    route = torch.randn(1, 12, 2)
    one = occfm.evaluated(past, future, 0.3, route)
    for other in ((past + 1, future, 0.3, route), (past, future, 0.6, route), (past, future, 0.3, route + 1)):
        assert not torch.allclose(occfm.evaluated(*other), one)


def test_a_frame_sees_no_later_one(occworld):
    codes, poses = torch.randn(3, 16, 10, 10), torch.randn(1, 3, 16)
    logits, told = occworld.transformer(codes, poses)
    other = torch.cat([codes[:2], torch.randn(1, 16, 10, 10)])
    again, told_again = occworld.transformer(other, poses)
    assert logits.shape == (3, 8, 10, 10) and told.shape == (1, 3, 16)
    assert torch.allclose(again[:2], logits[:2], atol=1e-5)
    assert torch.allclose(told_again[:, :2], told[:, :2], atol=1e-5)
    assert not torch.allclose(again[2], logits[2])


def test_frames_follow_one_another_and_are_codes(occworld):
    codes = occworld.encode(small_classes(40, 2))
    future = occworld.forecast(codes, torch.randn(1, 2, 2), horizon=3)
    assert future.shape == (3, 16, 10, 10)
    known = occworld.autoencoder.codes.weight
    assert all((row == known).all(dim=1).any() for row in future.permute(0, 2, 3, 1).reshape(-1, 16))


def test_totals_count_each_stage_as_often_as_the_form_says():
    form = Form("one", 4, {"evaluation": 2}, {"decode": 1})
    stages = {"encode": 1.0, "evaluation": 10.0, "decode": 100.0, "another": 1e6}
    assert totals(form, stages, 4) == {"encode": 4.0, "forecast": 20.0, "decode": 100.0, "all": 124.0}
    assert totals(form, stages, 1)["all"] == 121.0


def test_multiply_adds_of_a_convolution_are_counted_on_paper():
    peer = Peer(partial(torch.nn.Conv2d, 1, 4, 3, bias=False), lambda network, classes: {
        "encode": lambda: network(classes.float())}, (), "")
    assert peer_multiply_adds(peer, torch.zeros(1, 1, 10, 10, dtype=torch.long)) == {"encode": 4 * 9 * 64}


def test_the_comparison_has_every_form_and_ratios_to_ours(small_settings, street_window):
    def stages(network, classes):
        return PEERS["occfm"].stages(network, small_classes(40))

    small = Peer(lambda: OccFM(SMALL_CODING, SMALL_FLOW), stages, PEERS["occfm"].forms, "")
    plan = Plan(small_settings, street_window, CPU, (), ("occfm",), repetitions=1, memory=False)
    report = comparison(plan, {"occfm": small})
    assert [row["form"] for row in report["rows"]] == ["ours, untrained", *(form.name for form in small.forms)]
    for row in report["rows"]:
        assert row["seconds"]["all"] >= row["seconds_of_a_stream"]["all"] > 0
        assert row["multiply_adds"]["all"] > 0 and row["parameters"] > 0
    guided, one = report["rows"][1:3]
    assert guided["multiply_adds"]["forecast"] == pytest.approx(20 * one["multiply_adds"]["forecast"], rel=0.01)
    report = {**report, "machine": {"cpu": "a", "gpu": None}, "device": "cpu", "threads": 1,
              "versions": {"commit": "b"}, "scene": "street", "repetitions": 1, "clock": "process_time"}
    lines = report_markdown(json.loads(json.dumps(report))).splitlines()
    cells = next(line for line in lines if line.startswith("| ours, untrained")).split(" | ")
    assert cells[7] == cells[9] == "1.0"


def test_another_grid_and_an_unknown_peer_are_refused(tmp_path):
    def compared(*values):
        return compare(compose_config([*values, "device=cpu", f"peers.output={tmp_path}"], config_of("peers")))

    with pytest.raises(InputError, match="data.grid"):
        compared("data=demo")
    with pytest.raises(InputError, match="peers.others: 'atlas'"):
        compared("data=occ3d", "model=full", "peers.others=[atlas]")
