package aws

import (
	"context"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Parameter implements component.ParameterStore. A name under
// /aws/reference/secretsmanager/ is a secret of Secrets Manager.
func (s *Services) Parameter(ctx context.Context, name string) (component.StoredValue, error) {
	cfg, err := s.regional(ctx)
	if err != nil {
		return component.StoredValue{}, err
	}
	decrypt := true
	out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: &decrypt})
	if err != nil {
		return component.StoredValue{}, plain(err)
	}
	value := component.StoredValue{Text: sdk.ToString(out.Parameter.Value), Secret: out.Parameter.Type == types.ParameterTypeSecureString}
	if out.Parameter.Type == types.ParameterTypeStringList {
		value.List = strings.Split(value.Text, ",")
	}
	return value, nil
}
