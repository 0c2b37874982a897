package seal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsapi "k8s.io/kms/apis/v2"
)

// kmsMaxAnswer bounds what is read of a plugin's answer.
const kmsMaxAnswer = 128 << 10

var (
	errKMSForgets = errors.New("the plugin does not give back what it encrypted")
	errKMSHealth  = errors.New("the plugin is not well")
	errKMSAnswer  = errors.New("the plugin answers against the protocol")
	errKMSCall    = errors.New("the plugin does not do it")
)

// kmsClient speaks to a plugin over one connection.
type kmsClient struct {
	api     kmsapi.KeyManagementServiceClient
	timeout time.Duration
}

// dial hands use a client whose connection ends with it: calls are rare, and what
// holds no connection notices a plugin that was started anew.
func (k kmsKEK) dial(use func(kmsClient) error) (err error) {
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's file modes are its protection
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", k.socket)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(kmsMaxAnswer)),
	)
	if err != nil {
		return fmt.Errorf("%w: %w", errKMSCall, err)
	}
	defer conn.Close()
	return use(kmsClient{api: kmsapi.NewKeyManagementServiceClient(conn), timeout: k.timeout})
}

// call bounds one call in time and says in a bounded way what went wrong: the words
// are those of another program.
func (c kmsClient) call(ctx context.Context, what string, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := do(limited)
	if err == nil {
		return nil
	}
	if over := ctx.Err(); over != nil {
		return fmt.Errorf("%s: %w: %w", what, errKMSCall, over)
	}
	if limited.Err() != nil {
		return fmt.Errorf("%s: %w: no answer within %v: %w", what, errKMSCall, c.timeout, limited.Err())
	}
	s := status.Convert(err)
	return fmt.Errorf("%s: %w: %v: %s", what, errKMSCall, s.Code(), said(s.Message()))
}

// said quotes what a plugin says, shortened.
func said(words string) string {
	const most = 200
	if len(words) > most {
		words = words[:most]
	}
	return fmt.Sprintf("%q", words)
}

// status asks whether the plugin is well, and for the key ID that it encrypts with now.
func (c kmsClient) status(ctx context.Context) (answer *kmsapi.StatusResponse, err error) {
	err = c.call(ctx, "status", func(ctx context.Context) (err error) {
		answer, err = c.api.Status(ctx, &kmsapi.StatusRequest{})
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case answer.GetVersion() != "v2" && answer.GetVersion() != "v2beta1":
		return nil, fmt.Errorf("%w: version %s, want v2", errKMSAnswer, said(answer.GetVersion()))
	case answer.GetHealthz() != "ok":
		return nil, fmt.Errorf("%w: %s", errKMSHealth, said(answer.GetHealthz()))
	}
	if err := checkKeyID(answer.GetKeyId()); err != nil {
		return nil, fmt.Errorf("%w: status: %w", errKMSAnswer, err)
	}
	return answer, nil
}

func (c kmsClient) encrypt(ctx context.Context, request *kmsapi.EncryptRequest) (answer *kmsapi.EncryptResponse, err error) {
	err = c.call(ctx, "encrypt", func(ctx context.Context) (err error) {
		answer, err = c.api.Encrypt(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkEncrypted(answer.GetCiphertext(), answer.GetKeyId(), answer.GetAnnotations()); err != nil {
		return nil, fmt.Errorf("%w: %w", errKMSAnswer, err)
	}
	return answer, nil
}

// decrypt returns the random key, which the caller zeroes.
func (c kmsClient) decrypt(ctx context.Context, request *kmsapi.DecryptRequest) ([]byte, error) {
	var answer *kmsapi.DecryptResponse
	err := c.call(ctx, "decrypt", func(ctx context.Context) (err error) {
		answer, err = c.api.Decrypt(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	if n := len(answer.GetPlaintext()); n != KeySize {
		clear(answer.GetPlaintext())
		return nil, fmt.Errorf("%w: key of %d bytes, want %d", errKMSAnswer, n, KeySize)
	}
	return answer.GetPlaintext(), nil
}
