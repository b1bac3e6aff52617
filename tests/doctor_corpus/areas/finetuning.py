"""Data that cannot be read, under Composer and axolotl, whose logs have an order of their own. Simulations in the words of public sources.

Sources: mosaicml/composer's cli/launcher.py, mosaicml/streaming's download.py, axolotl-ai-cloud/axolotl, huggingface/datasets' json.py.
"""

from __future__ import annotations

from tests.doctor_corpus.areas.elsewhere import joined, raised, when
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.truth import case

STREAMED = {
    '/usr/lib/python3.11/site-packages/streaming/base/storage/download.py", line 116, in _download_file': "s3.download_file(obj.netloc, obj.path.lstrip('/'), local, ExtraArgs=extra_args, Config=TransferConfig(use_threads=False))",
    '/usr/lib/python3.11/site-packages/boto3/s3/transfer.py", line 406, in download_file': "future.result()",
}
STOPPED = {
    '/llm-foundry/scripts/train/train.py", line 9, in <module>': "train_from_yaml(yaml_path, args_list)",
    '/usr/lib/python3.11/site-packages/composer/trainer/trainer.py", line 2607, in _train_loop': "self.state.batch = next(dataloader_iter)",
    '/usr/lib/python3.11/site-packages/streaming/base/dataset.py", line 1601, in _each_sample_id': "raise RuntimeError('Background thread failed. Check other traceback.')",
}


@case(
    "composer-object-not-found",
    cause="file-missing",
    also=("download-failed", "file-permission"),
    rank=11,
    restart="STOP",
    real=False,
    proof="Rank 11 crashed",
)
def composer(bench: Bench) -> None:
    """A shard of a streamed data set was deleted: rank 11 raises behind its background thread; Composer's launcher on the second node shows every rank."""
    lines = [
        f"{when(60 + i)},{100 + i}: rank8[2101][MainThread]: INFO: llmfoundry.command_utils.train: {text}"
        for i, text in enumerate(("Building train loader", "Building eval loader", "Logging config", "Starting training..."))
    ]
    lines += [
        "ERROR:composer.cli.launcher:Rank 11 crashed with exit code 1.",
        "Waiting up to 30 seconds for all training processes to terminate. Press Ctrl-C to exit immediately.",
    ]
    lost = "botocore.exceptions.ClientError: Object s3://acme-mds/c4/train/shard.01822.mds.zstd not found! Either check the bucket path or the bucket permission. If the bucket is a requester pays bucket, then provide the bucket name to the environment variable `MOSAICML_STREAMING_AWS_REQUESTER_PAYS`."
    for rank in range(8, 16):
        code = 1 if rank == 11 else -15
        lines += [
            f"Global rank {rank} (PID {2093 + rank}) exited with code {code}",
            f"----------Begin global rank {rank} STDOUT----------",
        ]
        lines += [
            f"{when(60 + i)},{217 + rank}: rank{rank}[{2093 + rank}][MainThread]: DEBUG: composer.core.engine: [ep=0][ba={i}][event=BATCH_END]: ran {5 + i % 3} algorithms"
            for i in range(200, 205)
        ]
        lines += [f"----------End global rank {rank} STDOUT----------", f"----------Begin global rank {rank} STDERR----------"]
        lines += [
            f"[rank{rank}]:[W1127 09:15:21.{rank}8100 ProcessGroupNCCL.cpp:4571] [PG ID 0 PG GUID 0 Rank {rank}]  using GPU {rank - 8} to perform barrier as devices used by this process are currently unknown."
        ]
        if rank == 11:
            lines += [
                "Exception in thread Thread-5 (_download_thread):",
                *raised(
                    STREAMED,
                    "botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject operation: Not Found",
                ),
            ]
            lines += [
                "",
                "The above exception was the direct cause of the following exception:",
                "",
                *raised(STREAMED, lost),
                *raised(STOPPED, "RuntimeError: Background thread failed. Check other traceback."),
            ]
        lines += [f"----------End global rank {rank} STDERR----------"]
    lines += ["ERROR:composer.cli.launcher:Rank 8 crashed with exit code -15."]
    bench.write("node-1.log", joined(lines))


@case(
    "axolotl-row-of-json-broken",
    cause="bad-batch",
    also=("script-error",),
    rank=0,
    restart="STOP",
    real=False,
    proof="ArrowInvalid",
)
def axolotl(bench: Bench) -> None:
    """Rank 0 tokenizes a data set for all, in which a row of JSON is cut off; its three peers wait in a barrier and are ended."""
    lines = [
        "The following values were not passed to `accelerate launch` and had defaults used instead:",
        "\t`--num_processes` was set to a value of `4`",
        "\t`--num_machines` was set to a value of `1`",
    ]
    texts = (
        "loading tokenizer... mistralai/Mistral-7B-v0.3",
        "EOS: 2 / </s>",
        "BOS: 1 / <s>",
        "PAD: 2 / </s>",
        "No Chat template selected. Consider adding a chat template for easier inference.",
    )
    lines += [
        f"[{when(9 + i)},{611 + 17 * rank}] [INFO] [axolotl.load_tokenizer:{310 + i}] [PID:{7301 + rank}] [RANK:{rank}] {text}"
        for i, text in enumerate(texts)
        for rank in range(4)
    ]
    lines += [
        f"[rank{rank}]:[W1127 09:14:22.{rank}71903 ProcessGroupNCCL.cpp:4571] [PG ID 0 PG GUID 0 Rank {rank}]  using GPU {rank} to perform barrier as devices used by this process are currently unknown. This can potentially cause a hang if this rank to GPU mapping is incorrect. Specify device_ids in barrier() to force use of a particular device, or call init_process_group() with a device_id."
        for rank in (3, 1, 2)
    ]
    lines += [
        f"[{when(18)},402] [INFO] [axolotl.load_tokenized_prepared_datasets:211] [PID:7301] [RANK:0] Unable to find prepared dataset in last_run_prepared/8d4f1c",
        f"[{when(18)},403] [INFO] [axolotl.load_tokenized_prepared_datasets:212] [PID:7301] [RANK:0] Loading raw datasets...",
    ]
    lines += [f"Generating train split: {51200 * i} examples [00:{2 * i:02d}, {24811 + i} examples/s]" for i in range(1, 19)]
    lines += [
        "Failed to load JSON from file '/data/chats/part-0007.jsonl' with error <class 'pyarrow.lib.ArrowInvalid'>: JSON parse error: Missing a closing quotation mark in string. in row 4127"
    ]
    lines += raised(
        {
            '/usr/lib/python3.11/site-packages/datasets/packaged_modules/json/json.py", line 160, in _generate_tables': "df = pandas_read_json(f)"
        },
        "ValueError: Unterminated string starting at: line 1 column 1182 (char 1181)",
        "[rank0]: ",
    )
    lines += ["[rank0]: ", "[rank0]: During handling of the above exception, another exception occurred:", "[rank0]: "]
    lines += raised(
        {
            '/usr/lib/python3.11/site-packages/datasets/builder.py", line 1854, in _prepare_split_single': "for _, table in generator:"
        },
        "pyarrow.lib.ArrowInvalid: JSON parse error: Missing a closing quotation mark in string. in row 4127",
        "[rank0]: ",
    )
    lines += ["[rank0]: ", "[rank0]: The above exception was the direct cause of the following exception:", "[rank0]: "]
    trace = {
        '<frozen runpy>", line 88, in _run_code': "",
        '/workspace/axolotl/src/axolotl/cli/train.py", line 64, in do_cli': "return do_train(parsed_cfg, parsed_cli_args)",
        '/workspace/axolotl/src/axolotl/utils/data/sft.py", line 81, in prepare_dataset': "with zero_first(is_local_main_process()):",
    }
    lines += raised(
        trace, "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset", "[rank0]: "
    )
    lines += [
        "[rank0]:[W1127 09:15:04.882210 ProcessGroupNCCL.cpp:1479] Warning: WARNING: destroy_process_group() was not called before program exit, which can leak resources."
    ]
    lines += [
        f"W1127 09:15:05.331000 7228 torch/distributed/elastic/multiprocessing/api.py:900] Sending process {7301 + rank} closing signal SIGTERM"
        for rank in (1, 2, 3)
    ]
    lines += [
        "E1127 09:15:05.646000 7228 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: 1) local_rank: 0 (pid: 7301) of binary: /usr/bin/python3"
    ]
    lines += raised(
        {
            '/usr/bin/accelerate", line 8, in <module>': "sys.exit(main())",
            '/usr/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 270, in launch_agent': "raise ChildFailedError(",
        },
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    )
    lines += [
        "=" * 60,
        "axolotl.cli.train FAILED",
        "-" * 60,
        "Failures:",
        "  <NO_OTHER_FAILURES>",
        "-" * 60,
        "Root Cause (first observed failure):",
        "[0]:",
        "  time      : 2026-11-27_09:15:05",
        "  host      : a100-3",
        "  rank      : 0 (local_rank: 0)",
        "  exitcode  : 1 (pid: 7301)",
        "  error_file: <N/A>",
        "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
        "=" * 60,
    ]
    bench.write("axolotl.log", joined(lines))
