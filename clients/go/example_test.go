package anabranch_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	anabranch "anabranch/clients/go"
)

func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := anabranch.Connect(ctx, []string{"10.0.0.1:4568", "10.0.0.2:4568"},
		anabranch.WithMutualTLS("certs/ca.pem", "certs/client.pem", "certs/client.key"),
		anabranch.WithLogger(slog.Default()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func ExampleProducer() {
	ctx := context.Background()
	client, err := anabranch.Connect(ctx, []string{"127.0.0.1:4568"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	producer, err := client.NewProducer(ctx, "clicks", anabranch.WithLinger(10*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	var futures []*anabranch.Future
	for n := range 1000 {
		future, err := producer.Put(ctx, fmt.Sprint("user-", n%10), fmt.Append(nil, "click ", n))
		if err != nil {
			log.Fatal(err)
		}
		futures = append(futures, future)
	}
	// Close delivers everything. Each future tells what became of its record.
	if err := producer.Close(ctx); err != nil {
		log.Fatal(err)
	}
	for n, future := range futures {
		switch result, err := future.Wait(ctx); {
		case err == nil:
			log.Printf("record %d is at %v of %s", n, result.Position, result.ShardID)
		case errors.Is(err, anabranch.ErrUnknownOutcome):
			log.Printf("record %d is written, or not: %v", n, err)
		default:
			log.Printf("record %d is not written: %v", n, err)
		}
	}
}

func ExampleReader() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client, err := anabranch.Connect(ctx, []string{"127.0.0.1:4568"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	reader, err := client.Tail(ctx, "clicks", anabranch.AtTime(time.Now().Add(-time.Hour)))
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	for {
		record, err := reader.Next(ctx)
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Printf("%s %s: %s\n", record.ShardID, record.PartitionKey, record.Data)
	}
}

func ExampleGroup() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client, err := anabranch.Connect(ctx, []string{"127.0.0.1:4568"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	group, err := client.JoinGroup(ctx, "clicks", "billing", anabranch.WithStart(anabranch.Latest()))
	if err != nil {
		log.Fatal(err)
	}
	// The shards go to other members at once, and not after the session time.
	defer func() {
		leaving, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		group.Close(leaving)
	}()
	for {
		batch, err := group.Next(ctx)
		if err != nil {
			log.Print(err)
			return
		}
		for _, record := range batch.Records {
			fmt.Printf("%s: %s\n", record.PartitionKey, record.Data)
		}
		err = batch.Checkpoint(ctx)
		if errors.Is(err, anabranch.ErrOwnershipLost) {
			continue // the next owner processes these records again
		}
		if err != nil {
			log.Print(err)
			return
		}
	}
}
