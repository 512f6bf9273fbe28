"""The record processor of one shard, started by the MultiLangDaemon. scenario.py describes the lines that it prints."""

import os
import time

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor


class Processor(processor.RecordProcessorBase):
    def __init__(self):
        self.output = open(os.environ["OUTPUT"], "w", buffering=1)  # noqa: SIM115
        self.shard, self.number = None, None

    def print(self, *words):
        # One write per line, because the processors of all shards share the pipe.
        self.output.write(" ".join(map(str, words)) + "\n")

    def initialize(self, initialize_input):
        self.shard = initialize_input.shard_id
        self.print("init", self.shard)

    def process_records(self, process_records_input):
        now = round(time.time() * 1000)
        for record in process_records_input.records:
            self.number = record.sequence_number
            self.print("record", self.shard, self.number, now, record.binary_data.decode())
        if process_records_input.records:
            self.checkpoint(process_records_input.checkpointer)

    def lease_lost(self, lease_lost_input):
        self.print("lost", self.shard)

    def shard_ended(self, shard_ended_input):
        self.print("ended", self.shard)
        self.checkpoint(shard_ended_input.checkpointer)

    def shutdown_requested(self, shutdown_requested_input):
        self.checkpoint(shutdown_requested_input.checkpointer)

    def checkpoint(self, checkpointer):
        try:
            checkpointer.checkpoint()
            self.print("saved", self.shard, self.number)
        except kcl.CheckpointError as error:
            # Another worker has the lease now, and reads the records again.
            self.print("unsaved", self.shard, error.value)


if __name__ == "__main__":
    kcl.KCLProcess(Processor()).run()
