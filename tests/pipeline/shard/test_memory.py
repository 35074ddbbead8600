"""The shuffle holds one bucket at a time: four times the data takes no more memory."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import importlib.util
import pyarrow as pa
spec = importlib.util.spec_from_file_location("drawn", sys.argv[1])
drawn = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawn)
parts = int(sys.argv[3])
long = lambda number: {"meta": '{"n": "%s"}' % (str(number) * 400)}
judged = drawn.build(sys.argv[2], parts=parts, rows=500, change=long)
before = pa.default_memory_pool().max_memory()
judged.shard(bytes=200_000, bucket_rows=400)
print(before, pa.default_memory_pool().max_memory())
"""


def peak(folder, parts):
    """(bytes that Arrow held at most while the data was drawn, and at all), in a process of its own."""
    drawn = Path(__file__).with_name("conftest.py")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(drawn), str(folder), str(parts)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    return list(map(int, done.stdout.split()))


def test_four_times_the_data_takes_no_more_memory(tmp_path):
    few, many = peak(tmp_path / "few", 2), peak(tmp_path / "many", 8)
    assert few[1] > few[0]  # sharding took more than drawing, so it is what is compared
    assert many[1] < 1.5 * few[1]
