"""Forgetting: samples are taken out of every part of a dataset, and tombstones keep them out.

    select.py     what is asked for -> the rows it names
    request.py    the request as it is committed: tombstones, and where each sample lay
    tables.py     tables without some of their rows
    tars.py       raw tars without some of their samples (of shards: pipeline/shard/without.py)
    nodes.py      values that no row has any more
    hops.py       what each hop's parts become
    rewrite.py    one committed part after another, without the samples
    carry_out.py  all of it, in an order that survives a kill
    history.py    where a sample lay in shards of an earlier day
"""
