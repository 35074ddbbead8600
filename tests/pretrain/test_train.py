def test_train_func_runs(scenes, settings_of, ranks, tmp_path):
    results = ranks("train", 2, recipe=settings_of(scenes), run=str(tmp_path / "run"))
    print(results)
    import os

    os.system(f"find {tmp_path}/run; cat {tmp_path}/run/metrics.jsonl {tmp_path}/run/export/README.md")
