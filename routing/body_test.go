package routing_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/routing"
)

// TestARequestForAJobThatMovesHereKeepsItsBody though it was sent elsewhere first,
// whatever has been read of it by then.
func TestARequestForAJobThatMovesHereKeepsItsBody(t *testing.T) {
	const first, second = 3000, 2000
	for name, reads := range map[string]int64{"nothing": 0, "a part": 1, "all there is": first, "all": first + second} {
		for _, length := range []int64{-1, first + second} {
			t.Run(fmt.Sprint(name, " was read of ", length), func(t *testing.T) {
				f := newFleet(t, 1)
				read, moved := make(chan struct{}), make(chan struct{})
				other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, err := io.CopyN(io.Discard, r.Body, reads)
					assert.NoError(t, err)
					close(read)
					<-moved
					w.Header().Set("Connection", "close") // do not read the rest first
					refuse(w, r)
				}))
				defer other.Close()
				stop := f.leads("job-0", other.URL)
				serving := make(chan struct{})
				b := f.start("b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					close(serving)
					body, err := io.ReadAll(r.Body)
					fmt.Fprintf(w, "%d of %d, %q, %v, %v", len(body), r.ContentLength, strings.ReplaceAll(string(body), "x", ""), r.Trailer, err)
				}), routing.WithWait(time.Minute))
				_, err := b.observer.Await(t.Context(), "job-0")
				require.NoError(t, err)

				body, client := io.Pipe()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/job-0", body)
				require.NoError(t, err)
				req.ContentLength = length
				trailer := "map[]"
				if length < 0 {
					req.Trailer = http.Header{"Sum": nil}
					trailer = "map[Sum:[5]]"
				}
				answer := make(chan string, 1)
				go func() {
					status, text, err := do(req)
					answer <- fmt.Sprint(status, " ", text, err)
				}()
				_, err = client.Write([]byte("<" + strings.Repeat("x", first-1)))
				require.NoError(t, err)
				rest := func() {
					_, err = client.Write([]byte(strings.Repeat("x", second-1) + ">"))
					require.NoError(t, err)
					if length < 0 {
						req.Trailer.Set("Sum", "5")
					}
					require.NoError(t, client.Close())
				}
				if reads > first {
					rest()
				}
				soon(t, read)
				stop()
				b.serves(t)
				close(moved)
				soon(t, serving)
				if reads <= first {
					rest()
				}
				require.Equal(t, fmt.Sprintf(`200 %d of %d, "<>", %s, <nil><nil>`, first+second, length, trailer), soon(t, answer))
			})
		}
	}
}

// TestAStreamIsPassedOnAsItComes to a client that waits for an answer to each part.
func TestAStreamIsPassedOnAsItComes(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2 ", http2), func(t *testing.T) {
			f := newFleet(t, 1)
			f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := http.NewResponseController(w)
				assert.NoError(t, c.EnableFullDuplex())
				assert.NoError(t, c.Flush())
				for {
					part := make([]byte, 1)
					if _, err := io.ReadFull(r.Body, part); err != nil {
						assert.ErrorIs(t, err, io.EOF)
						return
					}
					_, err := w.Write(part)
					assert.NoError(t, errors.Join(err, c.Flush()))
				}
			}))
			front, observer := f.front(routing.WithWait(5 * time.Second))
			_, err := observer.Await(t.Context(), "job-0")
			require.NoError(t, err)
			entry := httptest.NewUnstartedServer(front)
			entry.EnableHTTP2 = http2
			entry.StartTLS()
			defer entry.Close()
			body, client := io.Pipe()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, entry.URL+"/job-0", body)
			require.NoError(t, err)
			answer, err := entry.Client().Do(req)
			require.NoError(t, err)
			defer answer.Body.Close()
			require.Equal(t, http.StatusOK, answer.StatusCode)
			for part := range byte(3) {
				_, err := client.Write([]byte{part})
				require.NoError(t, err)
				got := make([]byte, 1)
				_, err = io.ReadFull(answer.Body, got)
				require.NoError(t, err)
				require.Equal(t, part, got[0])
			}
			require.NoError(t, client.Close())
			_, err = answer.Body.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// TestARefusalDoesNotWaitForTheBody of a client that takes its time.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	f := newFleet(t, 0)
	front, _ := f.front()
	entry := httptest.NewServer(front)
	defer entry.Close()
	client := dial(t, entry.URL, "POST /job-0 HTTP/1.1\r\nHost: x\r\nDistributed-Route: app/job-0/1\r\nContent-Length: 3\r\n\r\nx")
	defer client.Close()
	require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
	answer, err := http.ReadResponse(bufio.NewReader(client), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusMisdirectedRequest, answer.StatusCode)
}

// TestARequestThatANodeHadForLongWaitsForTheNextOne as if it had just come.
func TestARequestThatANodeHadForLongWaitsForTheNextOne(t *testing.T) {
	const wait = 2 * time.Second
	f := newFleet(t, 0)
	other := new(breaker)
	other.times.Store(1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if other.times.Load() > 0 {
			time.Sleep(wait)
		}
		other.ServeHTTP(w, r)
	}))
	defer server.Close()
	f.leads("job-0", server.URL)
	front, observer := f.front(routing.WithWait(wait))
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/job-0", strings.NewReader("x")))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.EqualValues(t, 2, other.seen.Load())
}

// TestWithoutAWaitAKnownNodeIsAsked once, and none is waited for.
func TestWithoutAWaitAKnownNodeIsAsked(t *testing.T) {
	f := newFleet(t, 0)
	other := &refuser{bodies: make(chan int, 1)}
	server := httptest.NewServer(other)
	defer server.Close()
	front, observer := f.front(routing.WithWait(0), routing.WithTransport(&http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(20 * time.Millisecond) // it takes some time, always
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}))
	post := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/job-0", strings.NewReader("some")))
		return w
	}
	require.Contains(t, post().Body.String(), "nobody leads it just now")
	f.leads("job-0", server.URL)
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)

	require.Eventually(t, func() bool { return post().Code == http.StatusOK }, 20*time.Second, time.Millisecond,
		"however long the machine takes to connect")
	require.Equal(t, 4, <-other.bodies)

	other.refusals.Store(1000)
	w := post()
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.GreaterOrEqual(t, other.refusals.Load(), int64(999))
}

func refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Distributed-Route", "stale "+r.Header.Get("Distributed-Route"))
	w.WriteHeader(http.StatusMisdirectedRequest)
}
