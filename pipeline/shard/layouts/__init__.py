"""Other layouts of finished shards: what each writes of one shard, and what belongs to the whole.

    files.py      one folder of media and a metadata.jsonl per shard
    parquet.py    one parquet file per shard, media in a column
    mds.py        one .mds file per shard, and an index.json per split
    stage.py      one shard after another, on the engine
"""
