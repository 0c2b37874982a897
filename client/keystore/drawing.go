package keystore

import (
	"crypto/aes"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// drawing is the randomness of one keystore. It is drawn ahead, in order, so that
// keystores can be encrypted in parallel from one source.
type drawing struct {
	salt [32]byte
	iv   [aes.BlockSize]byte
	uuid uuid.UUID
}

func draw(random io.Reader) (drawing, error) {
	var drawn drawing
	for _, part := range [][]byte{drawn.salt[:], drawn.iv[:]} {
		if _, err := io.ReadFull(random, part); err != nil {
			return drawing{}, fmt.Errorf("draw randomness for a keystore: %w", err)
		}
	}
	var err error
	if drawn.uuid, err = uuid.NewRandomFromReader(random); err != nil {
		return drawing{}, fmt.Errorf("draw randomness for a keystore: %w", err)
	}
	return drawn, nil
}
