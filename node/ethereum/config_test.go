package ethereum

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func validConfig() Config {
	return Config{
		RPC:        []string{"http://127.0.0.1:8545"},
		Network:    validator.Network{Name: "test", ChainID: 1337, DepositContract: [20]byte{1}},
		Withdrawal: Withdrawal{Kind: Address, To: [20]byte{1}},
		AmountGwei: validator.ActivationGwei,
		Funding:    wallet{accountKey(1)},
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	custom, err := validConfig().complete()
	require.NoError(t, err)
	require.Equal(t, DefaultInFlight, custom.InFlight)
	require.Equal(t, 500*time.Millisecond, custom.Poll)

	public := validConfig()
	public.Network, err = validator.NetworkByName("mainnet")
	require.NoError(t, err)
	public, err = public.complete()
	require.NoError(t, err)
	require.Equal(t, 4*time.Second, public.Poll)

	_, err = Config{}.complete()
	require.NoError(t, err, "a node without an execution client makes no deposits, and runs")
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	public := func(name string) validator.Network {
		network, err := validator.NetworkByName(name)
		require.NoError(t, err)
		return network
	}
	tests := map[string]struct {
		change func(*Config)
		says   string
	}{
		"URL without scheme": {func(c *Config) { c.RPC = []string{"127.0.0.1:8545"} }, "http or https"},
		"URL with secret":    {func(c *Config) { c.RPC = []string{"ftp://host/secret"} }, "http or https"},
		"no network":         {func(c *Config) { c.Network = validator.Network{} }, "chain ID"},
		"no contract":        {func(c *Config) { c.Network.DepositContract = [20]byte{} }, "deposit contract"},
		"mainnet by ID":      {func(c *Config) { c.Network.ChainID = 1 }, "not quite mainnet"},
		"hoodi by name":      {func(c *Config) { c.Network.Name = "hoodi" }, "not quite hoodi"},
		"hoodi, other fork":  {func(c *Config) { c.Network = public("hoodi"); c.Network.ForkVersion[3]++ }, "not quite hoodi"},
		"confirmations":      {func(c *Config) { c.Network = public("mainnet"); c.Confirmations = 1 }, "finalizes"},
		"no withdrawal":      {func(c *Config) { c.Withdrawal = Withdrawal{} }, "withdrawn"},
		"unknown withdrawal": {func(c *Config) { c.Withdrawal.Kind = 9 }, "withdrawn"},
		"BLS with address":   {func(c *Config) { c.Withdrawal.Kind = BLS }, "takes no address"},
		"zero address":       {func(c *Config) { c.Withdrawal.To = [20]byte{} }, "zero address"},
		"too little":         {func(c *Config) { c.AmountGwei = validator.MinDepositGwei - 1 }, "amount"},
		"useless amount":     {func(c *Config) { c.AmountGwei = 33 * validator.GweiPerETH }, "amount"},
		"in flight":          {func(c *Config) { c.InFlight = MaxInFlight + 1 }, "in flight"},
		"in flight below 0":  {func(c *Config) { c.InFlight = -1 }, "in flight"},
		"poll":               {func(c *Config) { c.Poll = -1 }, "negative"},
		"no account":         {func(c *Config) { c.Funding = nil }, "no account"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := validConfig()
			test.change(&cfg)
			_, err := New(cfg, seeds{})
			require.ErrorIs(t, err, ErrConfig)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestWithdrawalCredentials(t *testing.T) {
	t.Parallel()
	seed, err := seeds{}.Seed(t.Context())
	require.NoError(t, err)
	key, err := seed.WithdrawalKey(5)
	require.NoError(t, err)
	to := [20]byte{1, 2, 3}
	for want, w := range map[validator.Credentials]Withdrawal{
		validator.BLSCredentials(key.PublicKey()): {Kind: BLS},
		validator.AddressCredentials(to):          {Kind: Address, To: to},
		validator.CompoundingCredentials(to):      {Kind: Compounding, To: to},
	} {
		got, err := w.credentials(seed, 5)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
