// The scenario of the AWS SDK for Go v2, set up by its own reading of the environment: create, put, split, encrypt, read
// with lineage, subscribe, delete. Usage: go run . ENDPOINT STREAM
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

var (
	ctx    = context.Background()
	client *kinesis.Client
	stream string
)

func main() {
	log.SetFlags(log.Lshortfile)
	endpoint := os.Args[1]
	stream = os.Args[2]
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"))
	must(err)
	client = kinesis.NewFromConfig(loaded, func(options *kinesis.Options) { options.BaseEndpoint = &endpoint })

	_, err = client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &stream, ShardCount: aws.Int32(1)})
	must(err)
	untilActive()
	put(0, 20, "")
	listed, err := client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &stream})
	must(err)
	parent := *listed.Shards[0].ShardId
	middle := new(big.Int).Lsh(big.NewInt(1), 127).String()
	_, err = client.SplitShard(ctx, &kinesis.SplitShardInput{
		StreamName: &stream, ShardToSplit: &parent, NewStartingHashKey: &middle,
	})
	must(err)
	untilActive()
	_, err = client.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{
		StreamName: &stream, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/aws/kinesis"),
	})
	must(err)
	untilActive()
	put(20, 20, types.EncryptionTypeKms)

	first, children := read(parent)
	check(slices.Equal(first, texts(0, 20)), "the parent has %v", first)
	check(len(children) == 2, "the parent's children are %v", children)
	var rest []string
	for _, child := range children {
		records, _ := read(child)
		rest = append(rest, records...)
	}
	slices.Sort(rest)
	wanted := texts(20, 20)
	slices.Sort(wanted)
	check(slices.Equal(rest, wanted), "the children have %v", rest)

	subscribe(parent, first, children)

	_, err = client.DeleteStream(ctx, &kinesis.DeleteStreamInput{
		StreamName: &stream, EnforceConsumerDeletion: aws.Bool(true),
	})
	must(err)
	until("the stream is gone", func() bool {
		_, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &stream})
		var notFound *types.ResourceNotFoundException
		return errors.As(err, &notFound)
	})
	fmt.Println("ok")
}

// The whole parent is pushed, then its end with the children; what is put meanwhile is pushed to a child's subscriber.
func subscribe(parent string, records, children []string) {
	described := summary()
	registered, err := client.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{
		StreamARN: described.StreamARN, ConsumerName: aws.String("go"),
	})
	must(err)
	consumer := registered.Consumer.ConsumerARN
	until("the consumer is ACTIVE", func() bool {
		answer, err := client.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: consumer})
		must(err)
		return answer.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive
	})

	answer, err := client.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: consumer, ShardId: &parent,
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
	})
	must(err)
	var pushed []string
	var last types.SubscribeToShardEvent
	for event := range answer.GetStream().Events() {
		last = event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
		for _, record := range last.Records {
			pushed = append(pushed, string(record.Data))
		}
	}
	must(answer.GetStream().Err())
	check(slices.Equal(pushed, records), "pushed was %v", pushed)
	check(last.ContinuationSequenceNumber == nil, "the parent goes on")
	check(slices.Equal(ids(last.ChildShards), children), "pushed as children were %v", ids(last.ChildShards))

	live, err := client.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: consumer, ShardId: &children[0],
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
	})
	must(err)
	_, err = client.PutRecord(ctx, &kinesis.PutRecordInput{
		StreamName: &stream, PartitionKey: aws.String("live"), ExplicitHashKey: aws.String("0"), Data: []byte("live"),
	})
	must(err)
	for event := range live.GetStream().Events() {
		got := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value.Records
		if len(got) > 0 {
			check(string(got[0].Data) == "live", "pushed was %q", got[0].Data)
			break
		}
	}
	must(live.GetStream().Close())
}

func put(from, count int, encryption types.EncryptionType) {
	var entries []types.PutRecordsRequestEntry
	for i, text := range texts(from, count) {
		entries = append(entries, types.PutRecordsRequestEntry{
			PartitionKey: aws.String(fmt.Sprintf("key-%d", from+i)), Data: []byte(text),
		})
	}
	answer, err := client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &stream, Records: entries})
	must(err)
	check(*answer.FailedRecordCount == 0, "%d records were refused", *answer.FailedRecordCount)
	check(answer.EncryptionType == encryption, "the encryption is %q", answer.EncryptionType)
}

func texts(from, count int) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("record %d", from+i))
	}
	return all
}

// All records of a shard, and what follows it.
func read(shard string) (records, children []string) {
	start, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: &stream, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	must(err)
	for next := start.ShardIterator; next != nil; {
		page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
		must(err)
		for _, record := range page.Records {
			records = append(records, string(record.Data))
		}
		if len(page.ChildShards) > 0 {
			return records, ids(page.ChildShards)
		}
		if *page.MillisBehindLatest == 0 {
			return records, nil
		}
		next = page.NextShardIterator
	}
	return records, nil
}

func ids(children []types.ChildShard) []string {
	var all []string
	for _, child := range children {
		all = append(all, *child.ShardId)
	}
	return all
}

func summary() *types.StreamDescriptionSummary {
	answer, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &stream})
	must(err)
	return answer.StreamDescriptionSummary
}

func untilActive() {
	until("the stream is ACTIVE", func() bool { return summary().StreamStatus == types.StreamStatusActive })
}

func until(what string, condition func() bool) {
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		check(time.Now().Before(deadline), "after 30 s still not: %s", what)
		time.Sleep(20 * time.Millisecond)
	}
}

func check(holds bool, format string, arguments ...any) {
	if !holds {
		log.Output(2, fmt.Sprintf(format, arguments...))
		os.Exit(1)
	}
}

func must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}
