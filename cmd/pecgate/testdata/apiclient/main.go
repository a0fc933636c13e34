// A program of somebody else: it knows of pecgate only the client that a generator made
// from docs/openapi.json, which stands beside this file when it is built. It sends
// letters, each under its own key, and asks until each is settled.
//
// usage: apiclient URL CA.pem FROM TO COUNT <token
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const workers = 8

func main() {
	log.SetFlags(0)
	if err := letters(); err != nil {
		log.Fatal(err)
	}
}

func letters() error {
	if len(os.Args) != 6 {
		return errors.New("usage: apiclient URL CA.pem FROM TO COUNT <token")
	}
	token, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(os.Args[5])
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(os.Args[2])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client, err := NewClientWithResponses(os.Args[1],
		WithHTTPClient(&http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: workers, TLSClientConfig: &tls.Config{RootCAs: roots}}}),
		WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
			return nil
		}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ids := make([]string, count)
	began := time.Now()
	if err := each(count, func(n int) (err error) {
		ids[n], err = send(ctx, client, n)
		return err
	}); err != nil {
		return err
	}
	sent := time.Since(began)
	var mu sync.Mutex
	states := map[string]int{}
	if err := each(count, func(n int) error {
		state, err := outcome(ctx, client, ids[n])
		mu.Lock()
		defer mu.Unlock()
		states[state]++
		return err
	}); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, id := range ids {
		seen[id] = true
	}
	fmt.Printf("%d letters, %d codes, %v\n", count, len(seen), states)
	log.Printf("submitted in %s, all settled after %s", sent.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	return nil
}

// each calls f for 0 to count-1, some at a time, and returns what went wrong.
func each(count int, f func(n int) error) error {
	var group sync.WaitGroup
	faults := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for n := w; n < count && faults[w] == nil; n += workers {
				faults[w] = f(n)
			}
		})
	}
	group.Wait()
	return errors.Join(faults...)
}

func send(ctx context.Context, client *ClientWithResponses, n int) (string, error) {
	key := fmt.Sprintf("letter-%d", n)
	to := []string{os.Args[4]}
	res, err := client.SendWithResponse(ctx, &SendParams{IdempotencyKey: &key}, Letter{
		Mailbox: os.Args[3], To: &to, Subject: fmt.Sprintf("Lettera %d", n), Text: "Si trasmette quanto in oggetto.",
	})
	if err != nil {
		return "", err
	}
	if res.JSON202 == nil {
		return "", fmt.Errorf("letter %d: %s %s", n, res.Status(), res.Body)
	}
	return res.JSON202.Id, nil
}

// outcome asks for a letter until its recipient has a state that lasts.
func outcome(ctx context.Context, client *ClientWithResponses, id string) (string, error) {
	for {
		res, err := client.StatusWithResponse(ctx, id)
		if err != nil {
			return "", err
		}
		if res.JSON200 == nil || res.JSON200.Recipients == nil || len(*res.JSON200.Recipients) != 1 {
			return "", fmt.Errorf("%s: %s %s", id, res.Status(), res.Body)
		}
		switch state := (*res.JSON200.Recipients)[0].State; state {
		case "delivered", "not-delivered", "refused", "failed":
			return state, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%s is not settled: %w", id, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
