// Package signature signs requests to S3 with Signature V4, for the rigs that are written in Go.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

// Who the rigs' servers know.
const (
	User     = "tester"
	Password = "a-password-for-tests"
	Region   = "us-east-1"
	// In the place of a body's hash: the signature does not bind the body.
	Unsigned = "UNSIGNED-PAYLOAD"
)

// Hash of a body, as Sign takes it.
func Hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}

// Sign signs a request with every header that is set. `payload`: Hash of the body, or Unsigned.
func Sign(r *http.Request, payload string, now time.Time) {
	date := now.UTC().Format("20060102T150405Z")
	r.Header.Set("x-amz-date", date)
	r.Header.Set("x-amz-content-sha256", payload)
	values := map[string]string{"host": r.Host}
	for name := range r.Header {
		values[strings.ToLower(name)] = strings.TrimSpace(r.Header.Get(name))
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	var lines strings.Builder
	for _, name := range names {
		fmt.Fprintf(&lines, "%s:%s\n", name, values[name])
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{r.Method, r.URL.Path, query(r.URL.Query()), lines.String(), signed, payload}, "\n")
	scope := date[:8] + "/" + Region + "/s3/aws4_request"
	text := strings.Join([]string{"AWS4-HMAC-SHA256", date, scope, Hash([]byte(canonical))}, "\n")
	key := []byte("AWS4" + Password)
	for _, part := range []string{date[:8], Region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	signature := hex.EncodeToString(mac(key, text))
	r.Header.Set("Authorization",
		fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", User, scope, signed, signature))
}

// The query as it is signed: sorted, spaces as %20.
func query(values url.Values) string {
	return strings.ReplaceAll(values.Encode(), "+", "%20")
}
