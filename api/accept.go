package api

import (
	"mime"
	"strconv"
	"strings"
)

// Media types of the assignments.
const (
	jsonText  = "application/json"
	plainText = "text/plain; charset=utf-8"
	htmlText  = "text/html; charset=utf-8"
)

// preferred picks what the Accept header (RFC 9110) likes best: the highest
// quality, and among equals the first that is named. Whoever takes anything, as
// curl does, gets plain lines; so does who takes nothing of ours.
func preferred(accept string) string {
	offers := map[string]string{
		"application/json": jsonText, "text/html": htmlText, "application/xhtml+xml": htmlText,
		"text/plain": plainText, "text/*": plainText, "application/*": jsonText, "*/*": plainText,
	}
	best, bestQuality := plainText, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		offer, offered := offers[media]
		if err != nil || !offered {
			continue
		}
		quality := 1.0
		if q, given := params["q"]; given {
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		if quality > bestQuality {
			best, bestQuality = offer, quality
		}
	}
	return best
}
