"""Which GPUs a process may see, as CUDA reads CUDA_VISIBLE_DEVICES."""

import pytest

from analytics_sdk.capture.visible_gpus import Device, choose_visible

ALIKE = [Device(0, "H200", "GPU-aaaa"), Device(1, "H200", "GPU-abcd"), Device(2, "H200", "GPU-cccc")]
MIXED = [Device(0, "GTX 1080", "GPU-aaaa"), Device(1, "RTX 4090", "GPU-bbbb")]
SPLIT = [
    Device(0, "A100", "GPU-aaaa"),
    Device(0, "A100 MIG 1g.5gb", "MIG-1111", is_instance=True, alias="MIG-GPU-aaaa/7/0"),
    Device(0, "A100 MIG 2g.10gb", "MIG-1222", is_instance=True, alias="MIG-GPU-aaaa/3/0"),
    Device(1, "A100", "GPU-bbbb"),
]


def indices(wanted: str | None, found: list[Device] = ALIKE, **more: str) -> list[int]:
    environment = more if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted, **more}
    return [device.index for device in choose_visible(found, environment).devices]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("none", []),
        ("2", [2]),
        ("2,0", [2, 0]),
        (" 1 , 0 ", [1, 0]),
        ("1gpu,2", [1, 2]),
        ("0,-1,2", [0]),
        ("0,,2", [0]),
        ("0,7,1", [0]),
        ("7,0", []),
        ("0,0", []),
        ("1,2,1", []),
        ("99999999999999999999", []),
        ("0,GPU-cccc", [0]),
    ],
)
def test_numbers_count_from_left_to_right_until_one_is_unknown(wanted: str | None, expected: list[int]) -> None:
    """One that stands twice shows none; -1, an empty place or another kind of name ends the list."""
    assert indices(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("GPU-cccc", [2]),
        ("GPU-c", [2]),
        ("GPU-cccc,GPU-aaaa", [2, 0]),
        ("GPU-ab,GPU-aa", [1, 0]),
        ("GPU-a", []),
        ("GPU-", []),
        ("GPU-c,GPU-cc", []),
        ("GPU-c,GPU-dddd,GPU-aaaa", [2]),
        ("GPU-c,0", [2]),
        ("cccc", []),
    ],
)
def test_uuids_may_be_shortened_as_long_as_one_gpu_is_meant(wanted: str, expected: list[int]) -> None:
    assert indices(wanted) == expected


def test_a_whole_uuid_is_meant_though_another_begins_with_it() -> None:
    found = [Device(0, "G", "GPU-aa"), Device(1, "G", "GPU-aabb")]
    assert indices("GPU-aa", found) == [0]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("MIG-1111", ["MIG-1111"]),
        ("MIG-12", ["MIG-1222"]),
        ("MIG-1", []),
        ("MIG-GPU-aaaa/3/0", ["MIG-1222"]),
        ("MIG-1222,MIG-1111", ["MIG-1222"]),
        ("MIG-1111,MIG-1111", []),
        ("MIG-9999", []),
        ("1", ["GPU-bbbb"]),
        ("GPU-aaaa", ["GPU-aaaa"]),
    ],
)
def test_of_mig_instances_one_is_used(wanted: str, expected: list[str]) -> None:
    """Named by UUID or in the older way; numbers are those of whole GPUs."""
    found = choose_visible(SPLIT, {"CUDA_VISIBLE_DEVICES": wanted})
    assert [device.uuid for device in found.devices] == expected


def test_without_a_list_the_gpus_are_visible_and_their_instances_are_not_counted_again() -> None:
    assert [device.uuid for device in choose_visible(SPLIT, {}).devices] == ["GPU-aaaa", "GPU-bbbb"]


def test_numbers_of_gpus_of_different_models_are_not_guessed() -> None:
    """CUDA counts by speed, NVML by place: all are looked at, and the doubt is told with what removes it."""
    found = choose_visible(MIXED, {"CUDA_VISIBLE_DEVICES": "0"})
    assert [device.index for device in found.devices] == [0, 1]
    assert found.doubt is not None and "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.doubt


@pytest.mark.parametrize(
    ("wanted", "order", "expected"),
    [
        ("0", "PCI_BUS_ID", [0]),
        ("1,0", None, [1, 0]),
        ("", None, []),
        ("GPU-b", None, [1]),
        (None, None, [0, 1]),
    ],
)
def test_where_it_can_be_known_different_models_are_no_doubt(
    wanted: str | None, order: str | None, expected: list[int]
) -> None:
    """Numbered by place, named, all or none."""
    environment = {"CUDA_VISIBLE_DEVICES": wanted, "CUDA_DEVICE_ORDER": order}
    found = choose_visible(MIXED, {name: value for name, value in environment.items() if value is not None})
    assert ([device.index for device in found.devices], found.doubt) == (expected, None)
