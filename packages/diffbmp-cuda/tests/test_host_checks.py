"""The shim itself: threads meet as on a card, and what is wrong with a kernel is found."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from cuda_host.launcher import HostError, build, load, run

from diffbmp_cuda.pipeline import Argument

THREADS = 64


def execute(
    folder: Path, body: str, arguments: Sequence[Argument], *, blocks: int = 1, seed: int = 0, shared: int = THREADS
) -> None:
    """Run a kernel of two arrays of ints, ``a`` and ``b``, ``shared`` ints in shared memory, and ``t``, its thread."""
    source = f"""
    extern "C" __global__ void probe([[maybe_unused]] int* a, [[maybe_unused]] int* b) {{
      DIFFBMP_SHARED(int, shared, {shared});
      [[maybe_unused]] const int t = int(threadIdx.x), block = int(blockIdx.x);
      {body}
    }}"""
    run(load(build("probe", source, (), folder)), blocks, arguments, threads=THREADS, seed=seed)


def ints(count: int = THREADS) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int32)


class TestThreadsMeet:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_barrier_lets_every_thread_see_what_every_other_wrote(self, host_folder: Path, seed: int) -> None:
        a = ints()
        body = """
        shared[t] = t;
        __syncthreads();
        const int other = shared[63 - t];
        __syncthreads();
        shared[t] = 100 * other;
        __syncthreads();
        const int sum = shared[(t + 1) % 64];
        a[t] = sum;"""
        execute(host_folder, body, [a, ints()], seed=seed)
        assert a.tolist() == [100 * (63 - (t + 1) % 64) for t in range(THREADS)]

    def test_threads_take_turns_between_barriers(self, host_folder: Path) -> None:
        """A ticket that is taken before each of two barriers: no thread takes its second before all have one."""
        a, b = ints(), ints()
        body = """
        const int first = atomicAdd(b, 1);
        __syncthreads();
        const int second = atomicAdd(b, 1);
        a[t] = first < 64 && second >= 64;"""
        execute(host_folder, body, [a, b])
        assert a.all()
        assert b[0] == 2 * THREADS

    def test_the_order_of_threads_follows_the_seed(self, host_folder: Path) -> None:
        orders = []
        for seed in (1, 2, 2):
            a = ints()
            execute(host_folder, "a[t] = atomicAdd(b, 1);", [a, ints()], seed=seed)
            assert sorted(a.tolist()) == list(range(THREADS))
            orders.append(a.tolist())
        assert orders[0] != orders[1] == orders[2]

    def test_shuffles_and_votes_are_of_a_warp(self, host_folder: Path) -> None:
        a, b = ints(3 * THREADS), ints()
        body = """
        a[t] = __shfl_xor_sync(~0u, t, 5);
        a[64 + t] = __shfl_up_sync(~0u, t, 3);
        a[128 + t] = __popc(__ballot_sync(~0u, t % 32 < t / 32 + 7));
        b[t] = __any_sync(~0u, t == 40);"""
        execute(host_folder, body, [a, b])
        assert a[:THREADS].tolist() == [t ^ 5 for t in range(THREADS)]
        assert a[THREADS : 2 * THREADS].tolist() == [t - 3 if t % 32 >= 3 else t for t in range(THREADS)]
        assert a[2 * THREADS :].tolist() == [7] * 32 + [8] * 32
        assert b.tolist() == [0] * 32 + [1] * 32

    def test_a_barrier_that_votes_is_of_the_block(self, host_folder: Path) -> None:
        a = ints()
        execute(host_folder, "a[t] = __syncthreads_or(t == 40) + 2 * __syncthreads_or(t == 99);", [a, ints()])
        assert a.tolist() == [1] * THREADS

    def test_blocks_all_run(self, host_folder: Path) -> None:
        a = ints(5 * THREADS)
        execute(host_folder, "a[block * 64 + t] = block;", [a, ints()], blocks=5)
        assert a.tolist() == [n // THREADS for n in range(5 * THREADS)]


class TestBounds:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("a[t + 1] = t;", r"writes 4 bytes at byte 256 of array 0, which has 256"),
            ("a[t - 1] = t;", r"writes 4 bytes at byte -4 of array 0, which has 256"),
            ("a[0] = b[64];", r"reads 4 bytes at byte 256 of array 1, which has 256"),
            ("if (t == 9) *(double*)(a + 63) = 1;", r"writes 8 bytes at byte 252 of array 0"),
            ("if (t == 9) atomicAdd(b + 64, 1);", r"thread 9 of block 0 writes 4 bytes at byte 256 of array 1"),
            ("*(int*)(long(t + 1) * 4096) = 1;", r"writes 4 bytes"),
        ],
    )
    def test_an_access_outside_of_an_array_is_found(self, host_folder: Path, body: str, sentence: str) -> None:
        with pytest.raises(HostError, match=rf"out of bounds: .*{sentence}"):
            execute(host_folder, body, [ints(), ints()])

    @pytest.mark.parametrize("body", ["shared[t + 1] = t;", "shared[t - 1] = t;", "shared[0] = 1; a[t] = shared[64];"])
    def test_an_access_outside_of_a_shared_array_is_found(self, host_folder: Path, body: str) -> None:
        with pytest.raises(HostError, match=r"out of bounds: .*shared\[(64|-1)\], which has 64|race: shared\[0\]"):
            execute(host_folder, body, [ints(), ints()])

    def test_what_is_outside_is_not_written_to(self, host_folder: Path) -> None:
        whole = torch.full((3 * THREADS,), 7, dtype=torch.int32)
        with pytest.raises(HostError):
            execute(host_folder, "a[t - 64] = 1;", [whole[THREADS : 2 * THREADS], ints()])
        assert (whole == 7).all()

    def test_what_was_not_written_cannot_be_read_from_shared_memory(self, host_folder: Path) -> None:
        with pytest.raises(HostError, match=r"read before anything was written: shared\[\d+\]"):
            execute(host_folder, "a[t] = shared[t];", [ints(), ints()])

    def test_a_block_finds_nothing_of_another_in_shared_memory(self, host_folder: Path) -> None:
        body = "if (block == b[0]) shared[t] = t; else a[t] = shared[t];"
        with pytest.raises(HostError, match="read before anything was written"):
            execute(host_folder, body, [ints(), ints()], blocks=2)


class TestRaces:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(
        "body",
        [
            "shared[t] = t; a[t] = shared[t ^ 1];",  # read without a barrier after the write
            "shared[t] = t; a[t] = shared[t ^ 32];",  # by another warp
            "shared[0] = t;",  # two writes
            "shared[t] = t; __syncthreads(); a[t] = shared[t ^ 1]; shared[t] = 0;",  # none after the read
            "shared[t] = t; __ballot_sync(~0u, 1); a[t] = shared[t ^ 1];",  # a vote is no barrier of memory
        ],
    )
    def test_a_race_in_shared_memory_is_found(self, host_folder: Path, body: str, seed: int) -> None:
        with pytest.raises(HostError, match=r"(race: shared\[\d+\] is|read before anything was written)"):
            execute(host_folder, body, [ints(), ints()], seed=seed)

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(
        "body",
        [
            "a[t] = t; b[t] = a[t ^ 1];",
            "a[0] = t;",
            "b[0] += 1;",  # what should be an atomic
            "atomicAdd(b, 1); a[t] = b[0];",
            "b[t] = a[t ^ 1]; __syncthreads(); b[t] = a[t ^ 1]; a[t] = 3;",
        ],
    )
    def test_a_race_in_global_memory_is_found(self, host_folder: Path, body: str, seed: int) -> None:
        with pytest.raises(HostError, match=r"race: array \d at byte \d+ is (read|written) by thread"):
            execute(host_folder, body, [ints(), ints()], seed=seed)

    def test_a_barrier_does_not_order_blocks(self, host_folder: Path) -> None:
        body = "a[t] = block; __syncthreads();"
        execute(host_folder, body, [ints(), ints()], blocks=1)
        with pytest.raises(HostError, match=r"race: array 0 .* of block \d .* of block \d"):
            execute(host_folder, body, [ints(), ints()], blocks=2)

    def test_what_barriers_and_atomics_order_is_no_race(self, host_folder: Path) -> None:
        a, b = ints(), ints()
        body = """
        a[t] = t; shared[t] = t;
        __syncthreads();
        const int other = a[t ^ 1], same = shared[t ^ 33];
        __syncthreads();
        a[t] = other + same; shared[t] = 0;
        atomicAdd(b + t % 2, 1);"""
        execute(host_folder, body, [a, b])
        assert b[:2].tolist() == [32, 32]


class TestMeeting:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("if (t < 32) __syncthreads();", "others never come to"),
            ("if (t % 2) __syncthreads();", "others never come to"),
            ("if (t != 5) __ballot_sync(~0u, 1);", "others never come to"),
            ("if (t % 2) __ballot_sync(~0u, 1); else __shfl_xor_sync(~0u, t, 1);", "different shuffles or votes"),
            ("if (t % 2) __syncthreads(); else __syncthreads_or(1);", "different barriers"),
        ],
    )
    def test_threads_that_do_not_meet_are_found(self, host_folder: Path, body: str, sentence: str) -> None:
        with pytest.raises(HostError, match=sentence):
            execute(host_folder, body, [ints(), ints()])


def test_numbers_are_passed_like_arrays(host_folder: Path) -> None:
    a = torch.zeros(1, dtype=torch.int64)
    source = 'extern "C" __global__ void pass(long long* a, int x, long long y) { if (threadIdx.x == 0) *a = x + y; }'
    library = load(build("pass", source, (), host_folder))
    run(library, 1, [a, ctypes.c_int(-3), ctypes.c_longlong(2**40)])
    assert a.item() == 2**40 - 3
